using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>A decision on its way into the store, with the room that it reserved.</summary>
internal sealed record PlacementPlan(
    LeaderTerm Term,
    InstanceId Instance,
    PlacementRecord Placement,
    ReceiptRecord? Receipt,
    IReadOnlyList<Compare> Guards) : PlacementProposal(Placement, Receipt, Guards)
{
    /// <summary>Made anew by each who asks, which is done outside of the fleet's lock.</summary>
    public IReadOnlyList<StoreOperation> Operations => Receipt is null
        ? [new StoreOperation.Put(Keys.Placement(Instance), Placement.ToByteArray())]
        : [new StoreOperation.Put(Keys.Placement(Instance), Placement.ToByteArray()), new StoreOperation.Put(Keys.Receipt(Instance), Receipt.ToByteArray())];

    /// <summary>What is wanted of the instance from then on; null where that stays as it is.</summary>
    public InstanceSpecRecord? Spec { get; init; }

    /// <summary>Holds only while neither spec nor placement changed since the entry was read.</summary>
    public StoreWrite WriteOf(InstanceEntry entry) => new(
        [
            .. Guards,
            Compare.Modified(entry.SpecKey, entry.SpecRevision),
            Compare.Modified(Keys.Placement(entry.Id), entry.PlacementRevision),
        ],
        Spec is null ? Operations : [.. Operations, new StoreOperation.Put(entry.SpecKey, Spec.ToByteArray())]);

    public override void Settle(PlacementOutcome outcome, long revision)
    {
        lock (Term.Fleet.Gate)
        {
            switch (outcome)
            {
                case PlacementOutcome.Committed:
                    Term.Fleet.Ledger.Commit(Instance, revision);
                    break;
                case PlacementOutcome.Refused:
                    Term.Fleet.Ledger.Release(Instance);
                    break;
                default:
                    Term.Fleet.Ledger.Doubt(Instance);
                    break;
            }
        }
    }
}
