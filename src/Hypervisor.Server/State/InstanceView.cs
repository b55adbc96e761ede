using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>What users see of an instance: a pure function of its entry.</summary>
internal static class InstanceView
{
    /// <summary>The whole object. The answer shares nothing that may change with the entry.</summary>
    public static Instance Render(InstanceEntry entry) => Render(entry, entry.SpecRecord, entry.PlacementRecord);

    /// <summary>The same for whoever has the entry's records; the answer has their parts.</summary>
    public static Instance Render(InstanceEntry entry, InstanceSpecRecord record, PlacementRecord? placement)
    {
        record.Metadata.ResourceVersion = entry.ResourceVersion.Value;
        return new()
        {
            Metadata = record.Metadata,
            Spec = record.Spec,
            Placement = placement?.Placement ?? new Placement(),
            Status = Status(entry),
        };
    }

    /// <summary>What INSTANCE_VIEW_SUMMARY promises and nothing else.</summary>
    public static Instance RenderSummary(InstanceEntry entry)
    {
        var (metadata, spec, reported) = (entry.Metadata, entry.Spec, entry.CurrentStatus);
        var summary = new ObjectMeta
        {
            Name = metadata.Name,
            Project = metadata.Project,
            Uid = metadata.Uid,
            Labels = { metadata.Labels },
            Generation = metadata.Generation,
            ResourceVersion = entry.ResourceVersion.Value,
            CreatedAt = metadata.CreatedAt,
            DeletedAt = metadata.DeletedAt,
        };
        var (state, reason, _) = Judge(entry, reported);
        var status = new InstanceStatus { State = state, Reason = reason };
        if (reported is not null)
        {
            status.IpAddresses.AddRange(reported.IpAddresses);
            (status.Driver, status.Accelerator) = (reported.Driver, reported.Accelerator);
        }

        var instance = new Instance
        {
            Metadata = summary,
            Spec = new() { Type = spec.Type, Image = spec.Image, Resources = spec.Resources },
            Placement = new(),
            Status = status,
        };
        if (entry.PlacementRecord?.Placement is { } placement)
        {
            instance.Placement.Node = placement.Node;
            instance.Placement.Epoch = placement.Epoch;
        }

        return instance;
    }

    /// <summary>The state that users see, for filters.</summary>
    public static InstanceState StateOf(InstanceEntry entry) => entry switch
    {
        { Deleting: true } => InstanceState.Deleting,
        { NodeId: null } => InstanceState.Pending,
        { Node: { Exists: false } or { Liveness: NodeLiveness.Down } } => InstanceState.Unknown,
        { IsEvicted: true, Eviction: not { Parked: true } } => InstanceState.Stopping,
        { ReportedState: { } reported } => Reported(reported),
        _ => InstanceState.Scheduled,
    };

    private static InstanceStatus Status(InstanceEntry entry)
    {
        // A report of an earlier placement says nothing about this one.
        var status = entry.CurrentStatus ?? new InstanceStatus();
        (status.State, status.Reason, status.Message) = Judge(entry, entry.ReportedState is null ? null : status);
        return status;
    }

    /// <summary>The state that users see, as <see cref="StateOf"/>, and why.</summary>
    public static (InstanceState State, string Reason, string Message) Judge(InstanceEntry entry) => Judge(entry, entry.CurrentStatus);

    private static (InstanceState State, string Reason, string Message) Judge(InstanceEntry entry, InstanceStatus? reported)
    {
        if (entry.Deleting)
        {
            return (InstanceState.Deleting, "Deleting", DeletingMessage(entry));
        }

        if (entry.NodeId is null)
        {
            var placement = entry.PlacementRecord?.Placement;
            return placement is { Reason.Length: > 0 }
                ? (InstanceState.Pending, placement.Reason, placement.Message)
                : (InstanceState.Pending, "NotScheduled", "No node was chosen yet.");
        }

        var node = entry.Node!;
        if (!node.Exists)
        {
            return (InstanceState.Unknown, "NodeGone", $"Node '{node.Name}' was deregistered; the instance waits for another node.");
        }

        if (node.Liveness == NodeLiveness.Down)
        {
            var last = reported is null ? "it never reported this instance" : $"it last reported {Word(reported.State)}";
            return (InstanceState.Unknown, "NodeDown", $"Node '{node.Name}' has not been heard of since {Time(node)}; {last}.");
        }

        if (entry.Eviction is { } eviction)
        {
            return (eviction.Parked && reported is not null ? Reported(reported.State) : InstanceState.Stopping, eviction.Reason, eviction.Message);
        }

        if (reported is null)
        {
            return (InstanceState.Scheduled, "WaitingForNode", $"Placed on node '{node.Name}', which has not reported it yet.");
        }

        return (Reported(reported.State), reported.Reason, reported.Message);
    }

    private static string DeletingMessage(InstanceEntry entry) => entry.Node switch
    {
        null => "The instance is being removed.",
        { Exists: false } node => $"Node '{node.Name}' was deregistered while it held the instance.",
        { Liveness: NodeLiveness.Down } node =>
            $"Waits for node '{node.Name}', which has not been heard of since {Time(node)}, to remove every trace. "
            + $"If that machine is off for good: hypervisor-ctl node delete {node.Name} --fenced",
        var node => $"Node '{node.Name}' is removing every trace of it.",
    };

    // Only states that an agent can observe; anything else from an agent is its mistake and shown as what it is not yet: unknown.
    private static InstanceState Reported(InstanceState state) => state switch
    {
        InstanceState.Starting or InstanceState.Running or InstanceState.Paused or InstanceState.Suspended or InstanceState.Stopping
            or InstanceState.Stopped or InstanceState.Failed or InstanceState.Deleting => state,
        InstanceState.Unspecified or InstanceState.Scheduled => InstanceState.Scheduled,
        _ => InstanceState.Unknown,
    };

    private static string Word(InstanceState state) => Reported(state).ToString().ToUpperInvariant();

    private static string Time(PlacedNode node) => node.Since is null
        ? "an unknown time"
        : node.Since.ToDateTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture);
}
