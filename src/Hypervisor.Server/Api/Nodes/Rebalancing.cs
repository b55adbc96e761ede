using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>Rebalance: moves that are found on a copy of the fleet, and begun where that is asked for.</summary>
/// <param name="clusterDefault">For instances that name no strategy.</param>
internal sealed class Rebalancing(ViewReads reads, TrialTurn turn, Rebalancer rebalancer, PlacementStrategy clusterDefault)
{
    private const int DefaultMoves = 10;
    private const double DefaultGain = 0.05;

    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT; RESOURCE_EXHAUSTED while another is tried; DEADLINE_EXCEEDED.</exception>
    /// <exception cref="NotLeadingException">It is to be applied, and another replica leads, or nobody.</exception>
    public async Task<RebalanceResponse> RebalanceAsync(RebalanceRequest request, CancellationToken cancellationToken)
    {
        Check(request);
        if (request.Apply && !rebalancer.Leads)
        {
            throw new NotLeadingException();
        }

        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var underWay = view.Instances.Count(instance => instance.Eviction?.Reason == Evictions.Rebalanced);
        var most = request.MaxMoves == 0 ? DefaultMoves : request.MaxMoves;
        var order = new RebalanceOrder(
            request.Objective, request.Apply ? Math.Max(0, most - underWay) : most, request.MinGain == 0 ? DefaultGain : request.MinGain);
        var plan = await turn.TryAsync(trying => Rebalance.Find(view, order, clusterDefault, trying), cancellationToken);
        var response = new RebalanceResponse
        {
            ResourceVersion = view.ResourceVersion.Value,
            Instances = plan.Instances,
            Before = plan.Before,
            After = plan.After,
            UnderWay = underWay,
        };
        response.Hindrances.AddRange(plan.Hindrances.OrderByDescending(entry => entry.Value)
            .Select(entry => new RebalanceHindrance { Reason = entry.Key, Message = Explain(entry.Key), Instances = entry.Value }));
        foreach (var proposed in plan.Moves)
        {
            response.Moves.Add(await MoveAsync(proposed, request, cancellationToken));
        }

        return response;
    }

    private async Task<RebalanceMove> MoveAsync(ProposedMove proposed, RebalanceRequest request, CancellationToken cancellationToken)
    {
        var move = new RebalanceMove
        {
            Instance = proposed.Instance.ListKey,
            InstanceUid = proposed.Instance.Id.Value,
            From = proposed.From,
            To = proposed.Move.Name,
            ScoreBefore = proposed.Move.Before,
            ScoreAfter = proposed.Move.After,
            Gain = proposed.Move.Gain,
        };
        if (request.Apply)
        {
            var (to, message) = await rebalancer.MoveAsync(proposed, request.Objective, cancellationToken);
            (move.Applied, move.To, move.Message) = (to is not null, to ?? move.To, message);
        }

        return move;
    }

    private static void Check(RebalanceRequest request)
    {
        var violations = new FieldViolations();
        TextChecks.Known(request.Objective, "objective", violations);
        if (request.MaxMoves != 0)
        {
            TextChecks.Range(request.MaxMoves, 1, Limits.Trials.Moves, "", "max_moves", violations);
        }

        if (!(request.MinGain is >= 0 and <= 1))
        {
            violations.Add("min_gain", FormattableString.Invariant($"{request.MinGain} is outside 0 to 1; 0 means {DefaultGain}."));
        }

        violations.ThrowIfAny();
    }

    private static string Explain(string reason) => reason switch
    {
        Rebalance.NotAllowed => "They do not allow it: they are in no group and do not say rebalance: allow, or say never.",
        Rebalance.LocalDisk => "They have a local disk, which is on their node.",
        Rebalance.CopiedDisk => "They are clones, whose disks are copied on the node of their source.",
        Rebalance.NodeTakesNone => "Their node takes no instance like them: it is cordoned, drained, tainted or not heard of.",
        _ => "Their groups' disruption budgets let no more of them be disturbed at once.",
    };
}
