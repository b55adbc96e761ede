using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>One image of a project's catalogue as of one revision.</summary>
/// <param name="Reference">"name:tag".</param>
internal sealed record ImageEntry(string Project, string Reference, ImageRecord Record, long ModRevision);
