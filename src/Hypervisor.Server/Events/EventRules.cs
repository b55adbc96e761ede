using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Events;

/// <summary>
/// What is worth telling of a change, as a pure function of the records before and after: nobody who writes a record has to think
/// of events, and an event tells nothing that did not happen. A successful placement is none: the receipt explains it.
/// </summary>
internal static class EventRules
{
    public static IEnumerable<Occurrence> Of(StateChange change) =>
        change.Instances.SelectMany(Of).Concat(change.Nodes.SelectMany(Of)).Concat(change.Groups.SelectMany(GroupEvents.Of));

    private static IEnumerable<Occurrence> Of(EntryChange<InstanceEntry> change)
    {
        var (before, after) = change;
        if (after is null)
        {
            yield return Instance(before!, "Deleted", "Nothing of the instance is left.");
            yield break;
        }

        if (before is null)
        {
            yield return Instance(after, "Created", $"Created from image '{after.Spec.Image}'.");
        }

        if (after.Deleting && before?.Deleting != true)
        {
            yield return Instance(after, "Deleting", "Deletion was asked for.");
        }

        if (before?.IsEvicted != true && after.Eviction is { } eviction)
        {
            yield return Instance(after, eviction.Reason, eviction.Message, EventSeverity.Warning);
        }

        // Of records that are the same as before there is nothing to tell, and they need not be parsed.
        var placed = before?.PlacementRevision != after.PlacementRevision;
        if (placed && !after.Deleting && Unplaced(after) is { } refusal && refusal != (before is null ? null : Unplaced(before)))
        {
            yield return Instance(after, refusal.Reason, refusal.Message, EventSeverity.Warning);
        }

        if ((placed || before!.StatusRevision != after.StatusRevision) && after.CurrentStatus is { } status && Status(after, before?.CurrentStatus, status) is { } observed)
        {
            yield return observed;
        }
    }

    private static (string Reason, string Message)? Unplaced(InstanceEntry entry) =>
        entry.NodeId is null && entry.PlacementRecord?.Placement is { Reason.Length: > 0 } placement ? (placement.Reason, placement.Message) : null;

    private static Occurrence? Status(InstanceEntry entry, InstanceStatus? before, InstanceStatus now)
    {
        var entered = before?.State != now.State;
        switch (now.State)
        {
            case InstanceState.Running when before?.State is InstanceState.Paused or InstanceState.Suspended:
                return Instance(entry, "Resumed", On(entry, "Running again"));
            case InstanceState.Running when entered || !Equals(before!.StartedAt, now.StartedAt):
                return Instance(entry, "Started", On(entry, "Running"));
            case InstanceState.Paused when entered:
                return Instance(entry, "Paused", On(entry, "Paused"));
            case InstanceState.Suspended when entered:
                return Instance(entry, "Suspended", On(entry, "Suspended"));
            case InstanceState.Stopped when entered:
                return Instance(entry, "Stopped", Ended(now));
            case InstanceState.Failed when entered || before!.Reason != now.Reason:
                return Instance(entry, now.Reason.Length > 0 ? now.Reason : "Failed", now.Message.Length > 0 ? now.Message : Ended(now), EventSeverity.Warning);
            case InstanceState.Starting when now.Reason.Length > 0 && now.Message.Length > 0 && (entered || before!.Reason != now.Reason):
                return Instance(entry, now.Reason, now.Message, EventSeverity.Warning);
            default:
                return null;
        }
    }

    private static string On(InstanceEntry entry, string what) => entry.Node is { } node ? $"{what} on node '{node.Name}'." : $"{what}.";

    private static string Ended(InstanceStatus status) => status.Exit switch
    {
        null => status.Message.Length > 0 ? status.Message : "Stopped.",
        { OutOfMemory: true } exit => $"Ended with code {exit.Code}, out of memory.",
        { Signal: > 0 } exit => $"Ended by signal {exit.Signal}.",
        var exit => $"Ended with code {exit.Code}.",
    };

    private static IEnumerable<Occurrence> Of(EntryChange<NodeEntry> change)
    {
        var (before, after) = change;
        if (after is null)
        {
            yield return Node(before!, "Deregistered", "The node was removed from the cluster.");
            yield break;
        }

        if (before is null)
        {
            yield return Node(after, "Registered", "The node joined the cluster.");
        }

        if (after.Liveness != (before?.Liveness ?? NodeLiveness.Unspecified))
        {
            var message = after.HealthRecord?.Message ?? "";
            switch (after.Liveness)
            {
                case NodeLiveness.Ready:
                    yield return Node(after, "NodeReady", message);
                    break;
                case NodeLiveness.Suspect:
                    yield return Node(after, "NodeSuspect", message, EventSeverity.Warning);
                    break;
                case NodeLiveness.Down:
                    yield return Node(after, "NodeDown", message, EventSeverity.Warning);
                    break;
            }
        }

        if (before is not null && before.Scheduling != after.Scheduling)
        {
            yield return Node(after, after.Scheduling.ToString(), $"Scheduling was {before.Scheduling} and is {after.Scheduling}.");
        }
    }

    private static Occurrence Instance(InstanceEntry entry, string reason, string message, EventSeverity severity = EventSeverity.Info) =>
        new("Instance", entry.Id.Value, entry.Name, entry.Project, reason, message, severity);

    private static Occurrence Node(NodeEntry entry, string reason, string message, EventSeverity severity = EventSeverity.Info) =>
        new("Node", entry.Id.Value, entry.Name, "", reason, message, severity);
}
