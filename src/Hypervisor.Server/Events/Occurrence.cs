using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Events;

/// <summary>Something that happened to an object, before it is added to what happened alike.</summary>
/// <param name="ObjectKind">"Instance", "Group" or "Node".</param>
/// <param name="Project">Empty for what belongs to no project.</param>
/// <param name="Reason">CamelCase: what is counted together.</param>
/// <param name="Message">A sentence for people; of several, the last is kept.</param>
internal sealed record Occurrence(
    string ObjectKind, string ObjectUid, string ObjectName, string Project, string Reason, string Message, EventSeverity Severity);
