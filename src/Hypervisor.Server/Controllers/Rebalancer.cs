using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>Carries out moves that were proposed, as far as they still hold.</summary>
internal sealed class Rebalancer(ClusterState state, CurrentTerm current, Placer placer, Evictor evictor)
{
    public bool Leads => current.Value is not null;

    /// <summary>Keeps a place for the instance and tells it to leave.</summary>
    /// <param name="objective">By which the place is chosen; unspecified means the instance's own strategy.</param>
    /// <returns>The node that it will be on, or why it stays.</returns>
    public async Task<(string? To, string Message)> MoveAsync(ProposedMove proposed, PlacementStrategy objective, CancellationToken cancellationToken)
    {
        const string Changed = "It has changed meanwhile; ask again.";
        if (current.Value is not { } term)
        {
            return (null, "This server does not lead any more; ask again.");
        }

        if (state.View.Instance(proposed.Instance.Id) is not { } instance || instance.PlacementRevision != proposed.Instance.PlacementRevision || Rebalance.Hindrance(instance) is not null)
        {
            return (null, Changed);
        }

        // As of now: moves before this one count.
        if (!DisruptionBudgets.MayDisturb(state.View, instance))
        {
            return (null, "Its group has as many members disturbed as its disruption budget lets it.");
        }

        if (placer.ClaimElsewhere(term, instance, objective) is not { } to)
        {
            return (null, $"No better place is free now; moves before this one may be about to leave '{proposed.Move.Name}'. Ask again when they are done.");
        }

        var why = new Eviction { Reason = Evictions.Rebalanced, Message = $"It is better off on '{to}'." };
        return await evictor.EvictAsync(term, instance, why, claimed: true, cancellationToken, objective) ? (to, "") : (null, Changed);
    }
}
