using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>Places new instances in their create's own transaction while this replica leads.</summary>
internal sealed class FirstPlacement(CurrentTerm current, Placer placer) : IFirstPlacement
{
    public bool Leads => current.Value is not null;

    /// <remarks>
    /// The view handed in may be older than one that reservations were already settled against; the placer takes the present one.
    /// </remarks>
    public PlacementProposal? Propose(InstanceId id, InstanceSpecRecord spec, ClusterView view, bool dryRun) =>
        current.Value is { } term ? placer.Plan(term, id, spec, Epoch.None, reserve: !dryRun) : null;

    public Placement? Foresee(InstanceId id, InstanceSpecRecord spec, ClusterView view) => Propose(id, spec, view, dryRun: true)?.Placement.Placement;
}
