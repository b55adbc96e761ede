namespace Hypervisor.Server.State;

/// <summary>Who leads the controllers.</summary>
/// <param name="Candidate">As it campaigned.</param>
/// <param name="CreateRevision">Tells one term from the next of the same candidate.</param>
internal sealed record LeaderEntry(string Candidate, long CreateRevision);
