using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>What is to be written about one that waits.</summary>
/// <param name="Entry">As of the decision.</param>
/// <param name="Plan">Null while an earlier plan for it is not settled, and where others have to make room first.</param>
internal sealed record QueuedPlan(QueuedInstance Item, InstanceEntry Entry, PlacementPlan? Plan, Preemption? Preemption = null);

internal sealed partial class Placer
{
    /// <summary>
    /// Decides about whoever is next: a node for it, or, once all that can be placed are, what those that sleep are to be told. Null when nobody is
    /// left. Each is taken from the queue until <see cref="Settle"/> or <see cref="PutBack"/>.
    /// </summary>
    public QueuedPlan? PlanNext(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var (queue, ledger, view) = (term.Fleet.Queue, term.Fleet.Ledger, state.View);
            queue.Wake();
            while ((Claimant(term) ?? queue.Next()) is { } item)
            {
                var (entry, group) = (item.Entry, item.Group);
                if (ledger.Holds(entry.Id))
                {
                    return new(item, entry, null);
                }

                if (Evictions.IsParked(entry))
                {
                    if (PlanReturn(term, item, view) is { } back)
                    {
                        return back;
                    }

                    queue.PutBack(item, told: true);
                    queue.Sleep(group);
                    continue;
                }

                // The place that was kept for it is free now, or it is somewhere better: nobody comes in between.
                var strategy = NextStrategy(entry);
                ledger.Unclaim(entry.Id);
                var request = By(strategy, group.Request with { Instance = entry.Id });
                var asked = strategy == PlacementStrategy.Unspecified ? ledger.Classes.Of(request, group.Key) : ledger.Classes.Of(request);
                if (Place(term, asked, request, entry.Epoch, view, reserve: true) is { } plan)
                {
                    return new(item, entry, plan);
                }

                if (Preempt(term, asked, request, view) is { } preemption)
                {
                    return new(item, entry, null, preemption);
                }

                queue.PutBack(item, told: false);
                queue.Sleep(group);
            }

            while (queue.NextUntold() is { } item)
            {
                if (ledger.Holds(item.Entry.Id))
                {
                    return new(item, item.Entry, null);
                }

                if (Evictions.IsParked(item.Entry))
                {
                    // Its eviction says why it rests.
                    queue.PutBack(item, told: true);
                    continue;
                }

                if (Refusal(term, item.Group, view) is not { } why)
                {
                    queue.PutBack(item, told: false);
                    return PlanNext(term);
                }

                if (IsNews(item, why))
                {
                    return new(item, item.Entry, Unplaced(term, item.Entry.Id, item.Entry.Epoch, why));
                }

                queue.PutBack(item, told: true);
            }

            return null;
        }
    }

    /// <summary>What was planned is in the store.</summary>
    public static void Settle(LeaderTerm term, QueuedPlan done, long revision)
    {
        done.Plan!.Settle(PlacementOutcome.Committed, revision);
        lock (term.Fleet.Gate)
        {
            if (done.Plan.Placement.Placement.NodeUid.Length > 0 && done.Item.Entry.PlacementRevision <= revision)
            {
                term.Fleet.Queue.Withdraw(done.Entry.Id);
            }
            else
            {
                term.Fleet.Queue.PutBack(done.Item, told: true);
            }
        }
    }

    /// <summary>What was planned did not come to be, as far as is known.</summary>
    public static void PutBack(LeaderTerm term, IEnumerable<QueuedInstance> items)
    {
        lock (term.Fleet.Gate)
        {
            foreach (var item in items)
            {
                // Another one that asks for the same may sleep meanwhile.
                term.Fleet.Queue.PutBack(item, told: false);
                term.Fleet.Queue.Wake(item.Group);
            }
        }
    }

    /// <summary>Instances that need something else than a node.</summary>
    public IReadOnlyList<InstanceEntry> ChoresOf(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            return [.. term.Fleet.Chores];
        }
    }

    public static bool AnyWaits(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            return term.Fleet.Queue.AnyAsleep;
        }
    }

    /// <summary>
    /// All that sleep are decided about again after some time, however much happens meanwhile: whether others could make room depends on more than on
    /// what wakes them, such as disruption budgets, priorities, and which nodes of a large fleet were looked at.
    /// </summary>
    public void WakeAllInTime(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            if (time.GetElapsedTime(term.Fleet.AllWokenAt) >= Limits.Control.ReconcilePeriod)
            {
                term.Fleet.Queue.WakeAll();
                term.Fleet.AllWokenAt = time.GetTimestamp();
            }
        }
    }

    /// <summary>Why a group sleeps; null when it need not any more, and was woken.</summary>
    private PlacementDecision? Refusal(LeaderTerm term, QueueGroup group, ClusterView view)
    {
        if (group.Refusal is null)
        {
            var asked = term.Fleet.Ledger.Classes.Of(group.Request, group.Key);
            group.Refusal = WhyNot(term.Fleet.Ledger, asked, group.Request, view);
            if (group.Refusal.Node is not null)
            {
                term.Fleet.Queue.Wake(group);
                return null;
            }
        }

        return group.Refusal;
    }

    /// <summary>By which one that left its node is to be placed, if not by its own: written down, since a claim ends with the term of the leader that made it.</summary>
    private static PlacementStrategy NextStrategy(InstanceEntry entry) =>
        entry.Epoch == Epoch.None ? PlacementStrategy.Unspecified : entry.PlacementRecord?.NextStrategy ?? PlacementStrategy.Unspecified;

    private static bool IsNews(QueuedInstance item, PlacementDecision why) =>
        item.Entry.PlacementRecord?.Placement is not { NodeUid.Length: 0 } known
        || known.Reason != why.Reason
        || (known.Message != why.Message && item.Group.Count <= Limits.Control.ToldAtOnce);
}
