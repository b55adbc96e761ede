using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Instances;

/// <summary>
/// Lets a create place its instance in the transaction that writes it, which spares the usual way (the controller sees a new
/// instance, decides, writes) one round through the store.
/// </summary>
internal interface IFirstPlacement
{
    /// <summary>Whether this replica decides; another one, or nobody, when not.</summary>
    bool Leads { get; }

    /// <summary>
    /// Decides where a new instance goes. Does not wait and writes nothing.
    /// </summary>
    /// <param name="dryRun">Decide only: reserve nothing; <see cref="PlacementProposal.Settle"/> is not called.</param>
    /// <returns>
    /// Null when this replica does not lead or would rather leave it to the controller. A proposal without a node says why the
    /// instance is pending.
    /// </returns>
    PlacementProposal? Propose(InstanceId id, InstanceSpecRecord spec, ClusterView view, bool dryRun);

    /// <summary>Where a new instance would go now, or why nowhere; null when this replica does not lead.</summary>
    Placement? Foresee(InstanceId id, InstanceSpecRecord spec, ClusterView view);
}

/// <summary>
/// A placement to be written together with its instance. Its reservation counts from the proposal on, so that proposals in
/// flight never share the same room; <see cref="Settle"/> is called exactly once and ends that.
/// </summary>
/// <param name="Receipt">Null when the placement itself says why, as one by the scheduler does.</param>
/// <param name="Guards">At least the leadership's guard: the write loses if leadership was lost meanwhile.</param>
internal abstract record PlacementProposal(PlacementRecord Placement, ReceiptRecord? Receipt, IReadOnlyList<Compare> Guards)
{
    /// <param name="revision">
    /// For Committed the revision of the write: the reservation may be forgotten once the view has reached it. Else 0.
    /// </param>
    public abstract void Settle(PlacementOutcome outcome, long revision);
}

/// <summary>What became of the write that carried a placement.</summary>
internal enum PlacementOutcome
{
    Committed,

    /// <summary>It lost a race: nothing was written.</summary>
    Refused,

    /// <summary>The store did not say; keep the room until the view shows it or a later read proves that it is not there.</summary>
    Unknown,
}
