using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>A decision on its way into the store. Exactly one of the three outcomes must be told.</summary>
internal sealed class PlacementPlan(
    LeaderTerm term,
    InstanceId instance,
    PlacementRecord placement,
    ReceiptRecord receipt,
    IReadOnlyList<Compare> compares)
{
    public PlacementRecord Placement { get; } = placement;

    public ReceiptRecord Receipt { get; } = receipt;

    /// <summary>The leader's guard, and that the chosen node is still as it was decided on.</summary>
    public IReadOnlyList<Compare> Compares { get; } = compares;

    public IReadOnlyList<StoreOperation> Operations { get; } =
    [
        new StoreOperation.Put(Keys.Placement(instance), placement.ToByteArray()),
        new StoreOperation.Put(Keys.Receipt(instance), receipt.ToByteArray()),
    ];

    /// <summary>Written; the room stays reserved until the view shows the revision.</summary>
    public void Committed(long revision) => Settle(reservations => reservations.Commit(instance, revision));

    /// <summary>Certainly not written.</summary>
    public void Abandoned() => Settle(reservations => reservations.Release(instance));

    /// <summary>Nobody knows: the room stays reserved until <see cref="Reservations.ResolveDoubts"/>.</summary>
    public void Doubtful() => Settle(reservations => reservations.Doubt(instance));

    private void Settle(Action<Reservations> outcome)
    {
        lock (term.Reservations.Gate)
        {
            outcome(term.Reservations);
        }
    }
}
