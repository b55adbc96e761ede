using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>
/// Changes what a placed instance holds of its node. The difference is reserved like a placement, under the same gate, so that a
/// larger instance and a new one never share the same room (CapacitySafe).
/// </summary>
internal sealed class Resizing(CurrentTerm current, Placer placer) : IResizing
{
    public ResizeAnswer Propose(InstanceEntry instance, InstanceSpec spec, bool dryRun) =>
        current.Value is { } term ? placer.Resize(term, instance, spec, reserve: !dryRun) : default;
}

/// <summary>A changed reservation on its way into the store.</summary>
internal sealed record ResizePlan(LeaderTerm Term, InstanceEntry Instance, PlacementRecord Placement)
    : PlacementProposal(Placement, null, [Term.Guard, Compare.Modified(Keys.Placement(Instance.Id), Instance.PlacementRevision)])
{
    public override void Settle(PlacementOutcome outcome, long revision)
    {
        lock (Term.Fleet.Gate)
        {
            switch (outcome)
            {
                case PlacementOutcome.Committed:
                    Term.Fleet.Ledger.Commit(Instance.Id, revision);
                    break;
                case PlacementOutcome.Refused:
                    Term.Fleet.Ledger.Release(Instance.Id);
                    break;
                default:
                    Term.Fleet.Ledger.Doubt(Instance.Id);
                    break;
            }
        }
    }
}
