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
            Allocated = entry.Allocated.ToResources(),
            InstanceCount = entry.InstanceUids.Count,
            Subnet = entry.RegistrationRecord?.Subnet ?? "",
        };
        status.Unclaimed.AddRange(entry.RegistrationRecord?.Unclaimed.Select(Render) ?? []);
        return new() { Metadata = metadata, Spec = new() { Scheduling = entry.Scheduling }, Status = status };
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
