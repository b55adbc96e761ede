namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>Only the leader, which knows what is reserved, changes what an instance holds of its node; nothing was written.</summary>
internal sealed class NotLeadingException()
    : Exception("Only the leader can change what instances hold of their nodes; ask the server that 'cluster info' names, or try again.");
