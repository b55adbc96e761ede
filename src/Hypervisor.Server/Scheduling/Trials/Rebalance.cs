using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>What is asked for.</summary>
/// <param name="Objective">Unspecified: each by its own strategy.</param>
/// <param name="MinGain">Above zero.</param>
internal sealed record RebalanceOrder(PlacementStrategy Objective, int MaxMoves, double MinGain);

/// <summary>Moves an instance on top of those before it.</summary>
internal sealed record ProposedMove(InstanceEntry Instance, string From, TrialMove Move);

/// <summary>What was found.</summary>
internal sealed record RebalancePlan(
    IReadOnlyList<ProposedMove> Moves, int Instances, IReadOnlyDictionary<string, int> Hindrances, RebalanceBalance Before, RebalanceBalance After);

/// <summary>
/// Which instances would gain most by being placed anew. A pure function of the view. Each move is the best for one instance as if it were new, by the scores of
/// its receipt; what several together could gain is not looked for. Since each raises a score by at least the least gain, moves come to an end.
/// </summary>
internal static class Rebalance
{
    public const string NotAllowed = "NotAllowed";
    public const string LocalDisk = "LocalDisk";
    public const string CopiedDisk = "CopiedDisk";
    public const string NodeTakesNone = "NodeTakesNone";
    public const string DisruptionBudget = "DisruptionBudget";

    /// <exception cref="OperationCanceledException"/>
    public static RebalancePlan Find(ClusterView view, RebalanceOrder order, PlacementStrategy clusterDefault, CancellationToken cancellationToken)
    {
        var fleet = new TrialFleet(view, new HashSet<NodeId>(), clusterDefault);
        var (instances, hindrances, before) = (0, new SortedDictionary<string, int>(StringComparer.Ordinal), BalanceOf(fleet));
        var candidates = new List<Candidate>();
        foreach (var instance in view.Instances.Where(instance => instance is { NodeId: not null, Deleting: false, IsEvicted: false }))
        {
            instances++;
            if (Hindrance(instance) is { } reason)
            {
                Count(hindrances, reason);
                continue;
            }

            var request = fleet.RequestOf(instance);
            candidates.Add(new(instance, order.Objective == PlacementStrategy.Unspecified ? request : request with { Strategy = order.Objective }));
        }

        // Those that ask for the same one after the other: of each kind all nodes are looked at once.
        var best = new PriorityQueue<Candidate, (double LessGain, string Name)>();
        foreach (var candidate in candidates.OrderBy(candidate => RequestClasses.KeyOf(candidate.Request), StringComparer.Ordinal))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (fleet.BestMove(candidate.Instance.Id, candidate.Request, candidate.Instance.NodeId!.Value) is { } move)
            {
                Offer(best, candidate with { Move = move }, order);
            }
            else
            {
                Count(hindrances, NodeTakesNone);
            }
        }

        var moves = Take(view, fleet, best, order, hindrances, cancellationToken);
        return new(moves, instances, hindrances, before, BalanceOf(fleet));
    }

    /// <summary>Why an instance is never moved; null when it may be.</summary>
    public static string? Hindrance(InstanceEntry instance)
    {
        var policy = instance.Spec.Constraints?.Rebalance ?? RebalancePolicy.Unspecified;
        if (policy == RebalancePolicy.Never || (policy == RebalancePolicy.Unspecified && instance.GroupUid is null))
        {
            return NotAllowed;
        }

        return instance.IsClone ? CopiedDisk : Evictions.CanMove(instance) ? null : LocalDisk;
    }

    /// <summary>
    /// The best one as of now each time. What was found before other moves may be out of date: it is looked at again before it is taken. One whose gain has
    /// grown meanwhile is not found before its turn.
    /// </summary>
    private static List<ProposedMove> Take(
        ClusterView view, TrialFleet fleet, PriorityQueue<Candidate, (double LessGain, string Name)> best, RebalanceOrder order,
        SortedDictionary<string, int> hindrances, CancellationToken cancellationToken)
    {
        var moves = new List<ProposedMove>();
        var moved = new HashSet<InstanceId>();
        while (moves.Count < order.MaxMoves && best.TryDequeue(out var candidate, out _))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var (instance, request) = (candidate.Instance, candidate.Request);
            if (!DisruptionBudgets.MayDisturb(view, instance, moved))
            {
                Count(hindrances, DisruptionBudget);
                continue;
            }

            if (candidate.AsOf != moves.Count)
            {
                if (fleet.BestMove(instance.Id, request, instance.NodeId!.Value) is { } now)
                {
                    Offer(best, candidate with { Move = now, AsOf = moves.Count }, order);
                }

                continue;
            }

            fleet.Move(instance.Id, request, candidate.Move.To);
            moved.Add(instance.Id);
            moves.Add(new(instance, instance.Node!.Name, candidate.Move));
        }

        return moves;
    }

    private static void Offer(PriorityQueue<Candidate, (double LessGain, string Name)> best, Candidate candidate, RebalanceOrder order)
    {
        if (candidate.Move.To != candidate.Instance.NodeId && candidate.Move.Gain >= order.MinGain)
        {
            best.Enqueue(candidate, (-candidate.Move.Gain, candidate.Instance.ListKey));
        }
    }

    private static void Count(SortedDictionary<string, int> hindrances, string reason) => hindrances[reason] = hindrances.GetValueOrDefault(reason) + 1;

    private static RebalanceBalance BalanceOf(TrialFleet fleet)
    {
        var nodes = fleet.Nodes().Where(node => node is { Liveness: NodeLiveness.Ready, Scheduling: NodeScheduling.Schedulable or NodeScheduling.Unspecified }).ToList();
        var shares = nodes.ConvertAll(node =>
            (Share(node.Allocated.CpuMillicores, node.Capacity.CpuMillicores) + Share(node.Allocated.MemoryBytes, node.Capacity.MemoryBytes)) / 2);
        var mean = shares.Count == 0 ? 0 : shares.Average();
        return new()
        {
            Nodes = nodes.Count,
            EmptyNodes = nodes.Count(node => node.InstanceCount == 0),
            Utilisation = mean,
            Deviation = shares.Count == 0 ? 0 : Math.Sqrt(shares.Average(share => (share - mean) * (share - mean))),
        };
    }

    private static double Share(long used, long all) => all > 0 ? (double)used / all : 0;

    private sealed record Candidate(InstanceEntry Instance, PlacementRequest Request)
    {
        public TrialMove Move { get; init; }

        /// <summary>How many moves had been found when that was the best one.</summary>
        public int AsOf { get; init; }
    }
}
