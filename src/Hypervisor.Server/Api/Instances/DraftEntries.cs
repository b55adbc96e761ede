using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Entries for what is not, or no longer, in the view: dry runs, and objects that were gone before they could be shown.</summary>
internal static class DraftEntries
{
    public static InstanceEntry Of(
        InstanceId id, InstanceSpecRecord spec, PlacementRecord? placement, ClusterView view, ResourceVersion version) => new()
        {
            Id = id,
            SpecRecord = spec,
            SpecRevision = version.Revision,
            PlacementRecord = placement,
            PlacementRevision = placement is null ? 0 : version.Revision,
            Node = Node(placement?.Placement, view),
            ResourceVersion = version,
        };

    /// <summary>A deleted instance, as much of it as its tombstone tells.</summary>
    public static Instance Deleted(TombstoneEntry tombstone, Incarnation incarnation) => new()
    {
        Metadata = new()
        {
            Name = tombstone.Record.Name,
            Project = tombstone.Record.Project,
            Uid = tombstone.Id.Value,
            ResourceVersion = ResourceVersion.Of(incarnation, tombstone.ModRevision).Value,
            DeletedAt = tombstone.Record.DeletedAt,
        },
        Spec = new(),
        Placement = new() { Epoch = tombstone.Record.Epoch },
        Status = new() { State = InstanceState.Deleting, Reason = "Deleted", Message = "The instance was deleted." },
    };

    private static PlacedNode? Node(Placement? placement, ClusterView view)
    {
        if (placement is not { NodeUid.Length: > 0 })
        {
            return null;
        }

        var node = view.Node(new(placement.NodeUid));
        return new(
            placement.NodeUid, placement.Node, node is not null, node?.Liveness ?? NodeLiveness.Unspecified,
            node?.HealthRecord?.Since, node?.HealthRevision ?? 0);
    }
}
