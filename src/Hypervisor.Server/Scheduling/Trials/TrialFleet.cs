using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>
/// A copy of the fleet as one view has it, to try on it what is not so. Decides as placements do, by the same classes. As large as the leader's own, some
/// 500 bytes for each instance; not for concurrent use.
/// </summary>
internal sealed class TrialFleet
{
    private readonly FleetLedger _ledger = new();
    private readonly ClusterView _view;
    private readonly PlacementStrategy _clusterDefault;
    private readonly IReadOnlySet<NodeId> _lost;
    private int _reasonsLeft;
    private int _added;

    /// <param name="lost">Without them; what they held is nowhere.</param>
    /// <param name="clusterDefault">For instances that name no strategy.</param>
    /// <param name="reasons">Kinds of instances that are told in words why they fit nowhere: each takes looks at all nodes and instances.</param>
    public TrialFleet(ClusterView view, IReadOnlySet<NodeId> lost, PlacementStrategy clusterDefault, int reasons = 16)
    {
        (_view, _lost, _clusterDefault, _reasonsLeft) = (view, lost, clusterDefault, reasons);
        _ledger.Load(view, lost);
    }

    public int NodeCount => _ledger.Fleet.NodeCount;

    public IEnumerable<CandidateNode> Nodes() => _ledger.Fleet.Candidates();

    /// <summary>One more node, under a name that no other has.</summary>
    public void Add(CandidateNode like)
    {
        // A node's own name has no '+'.
        var name = $"{like.Name}+{++_added}";
        _ledger.Fleet.Describe(new(like with { Id = new(name), Name = name }, default));
    }

    /// <summary>What an instance that exists asks for when it is placed anew.</summary>
    public PlacementRequest RequestOf(InstanceEntry instance)
    {
        var spec = instance.Spec;
        var request = PlacementRequest.Of(instance.Id, instance.Project, instance.Labels, spec, _clusterDefault);
        return spec.Source is not { } source
            ? request
            : request with { Source = new SourcePlace(_view.Instance(new(source.InstanceUid)) is { Deleting: false, NodeId: { } node } && !_lost.Contains(node) ? node : null) };
    }

    /// <summary>Places an instance if it fits.</summary>
    /// <param name="node">Empty when it does not.</param>
    /// <returns>Null when it fits.</returns>
    public TrialRefusal? Place(PlacementRequest request, out string node)
    {
        var asked = _ledger.Classes.Of(request);
        var best = asked.Decide(_ledger.Fleet, _ledger.Classes);
        if (best.First >= 0 && _ledger.Fleet.NodeAt(best.First) is { } found)
        {
            _ledger.Reserve(request.Instance, new(found.Id, request.Reserve, asked.Kind, request.Ports) { Devices = request.Devices }, best.First);
            node = found.Node.Name;
            return null;
        }

        node = "";
        return WhyNot(asked, request);
    }

    /// <summary>
    /// Where an instance would be best if it were nowhere yet, and what the place that it has is worth then. Null when its node would not take anything like it
    /// (it is cordoned, for example): that is for others to act on.
    /// </summary>
    public TrialMove? BestMove(InstanceId instance, PlacementRequest request, NodeId from)
    {
        var asked = _ledger.Classes.Of(request);
        return _ledger.Fleet.Without<TrialMove?>(instance, () =>
        {
            var best = asked.Decide(_ledger.Fleet, _ledger.Classes);
            var row = _ledger.Fleet.Find(from);
            if (row < 0 || asked.Shape!.Able.OfRows[row] != Verdicts.Fits || best.First < 0)
            {
                return null;
            }

            var to = _ledger.Fleet.NodeAt(best.First)!;
            return new(to.Id, to.Node.Name, asked.ScoreOf(row) ?? TrialMove.AgainstItsRules, best.FirstScore);
        });
    }

    /// <summary>It is there from now on.</summary>
    public void Move(InstanceId instance, PlacementRequest request, NodeId to)
    {
        var stay = new Stay(to, request.Reserve, _ledger.Classes.Of(request).Kind, request.Ports) { Devices = request.Devices, Priority = request.Priority };
        _ledger.Fleet.Confirm(instance, stay);
    }

    /// <summary>Of the first of a class: the others are refused for much the same.</summary>
    private TrialRefusal WhyNot(RequestClass asked, PlacementRequest request)
    {
        if (asked.Refusal is null)
        {
            if (_reasonsLeft == 0)
            {
                return TrialRefusal.NotLookedInto;
            }

            _reasonsLeft--;
            var seen = _ledger.View(request, _view.ResourceVersion);
            var decision = Scheduler.Decide(request, seen, default);
            decision.Receipt.Remedies.AddRange(RemedyFinder.Find(request, seen));
            asked.Refusal = (_ledger.Fleet.Order.Clock, default, decision);
        }

        var known = asked.Refusal.Value.Decision;
        return new(known.Reason, known.Message, known.Receipt.Remedies);
    }
}

/// <summary>What is best for an instance, and what it has.</summary>
/// <param name="Before">Of the node that it is on: its score, or <see cref="AgainstItsRules"/>.</param>
internal readonly record struct TrialMove(NodeId To, string Name, double Before, double After)
{
    /// <summary>Below every score: what it asks for of its neighbours does not hold where it is.</summary>
    public const double AgainstItsRules = -1;

    public double Gain => After - Before;
}

/// <summary>Why an instance would have no node.</summary>
internal sealed record TrialRefusal(string Reason, string Message, IReadOnlyList<PlacementRemedy> Remedies)
{
    public static TrialRefusal NotLookedInto { get; } = new("NoFittingNode", "Instances of other kinds than those before; why they fit nowhere was not looked into.", []);
}
