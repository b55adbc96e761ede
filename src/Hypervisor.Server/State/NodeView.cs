using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State;

/// <summary>What users see of a node: a pure function of its entry. The node's secret is no part of it.</summary>
internal static class NodeView
{
    /// <summary>The whole object. The answer shares nothing that may change with the entry.</summary>
    public static Node Render(NodeEntry entry)
    {
        var metadata = entry.SpecRecord.Metadata.Clone();
        metadata.ResourceVersion = entry.ResourceVersion.Value;
        metadata.Labels.Clear();
        metadata.Labels.Add(entry.Labels);
        var status = new NodeStatus
        {
            Liveness = entry.Liveness,
            LivenessSince = entry.HealthRecord?.Since?.Clone(),
            LivenessMessage = entry.HealthRecord?.Message ?? "Registered; no heartbeat was judged yet.",
            Inventory = entry.Inventory?.Clone() ?? new NodeInventory(),
            Allocatable = entry.AllocatableDevices.AddTo(entry.Allocatable.ToResources()),
            Allocated = entry.Allocated.ToResources(),
            InstanceCount = entry.InstanceUids.Count,
            Subnet = entry.RegistrationRecord?.Subnet ?? "",
        };
        status.Unclaimed.AddRange(entry.RegistrationRecord?.Unclaimed.Select(Render) ?? []);
        status.Conditions.Add(RuntimeVulnerable(status.Inventory));
        if (entry.Scheduling == NodeScheduling.Draining)
        {
            status.Conditions.Add(Drained(entry));
        }

        var spec = entry.SpecRecord.Spec?.Clone() ?? new NodeSpec();
        spec.Scheduling = entry.Scheduling;
        return new() { Metadata = metadata, Spec = spec, Status = status };
    }

    /// <summary>How far a drain is. What holds it up is the leader's to find out; the rest follows from what is placed here.</summary>
    private static Condition Drained(NodeEntry entry)
    {
        var count = entry.InstanceUids.Count;
        var heldUp = count > 0 && entry.DrainRecord is { Message.Length: > 0 };
        return new()
        {
            Type = "Drained",
            Status = count == 0 ? ConditionStatus.True : ConditionStatus.False,
            Reason = count == 0 ? "Empty" : heldUp ? "HeldUp" : "Leaving",
            Message = count == 0 ? "Nothing is left on it." : heldUp ? entry.DrainRecord!.Message : $"{(count == 1 ? "1 instance has" : $"{count} instances have")} to leave.",
            LastTransitionAt = heldUp ? entry.DrainRecord!.Since?.Clone() : null,
        };
    }

    /// <summary>Derived, so it has no time of its own.</summary>
    private static Condition RuntimeVulnerable(NodeInventory inventory)
    {
        const string Known = "KnownVulnerability";
        const string Possible = "PossibleVulnerability";
        var warnings = inventory.Runtimes.SelectMany(runtime => runtime.Warnings).Where(warning => warning.Reason is Known or Possible).ToList();
        var status = warnings.Any(warning => warning.Reason == Known) ? ConditionStatus.True
            : warnings.Count > 0 ? ConditionStatus.Unknown
            : ConditionStatus.False;
        return new()
        {
            Type = "RuntimeVulnerable",
            Status = status,
            Reason = status == ConditionStatus.True ? Known : warnings.Count > 0 ? Possible : "",
            Message = string.Join("; ", warnings.Select(warning => warning.Message)),
        };
    }

    /// <summary>Without its spec: who may see a node need not be one who may see every project's environment variables.</summary>
    public static UnclaimedInstance Render(UnclaimedInstance reported) => new()
    {
        Uid = reported.Uid,
        Name = reported.Name,
        Project = reported.Project,
        Epoch = reported.Epoch,
        Type = reported.Type,
        State = reported.State,
        Adoptable = reported.Spec is not null,
    };
}
