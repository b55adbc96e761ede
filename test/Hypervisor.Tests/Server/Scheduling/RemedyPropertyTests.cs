using CsCheck;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Tests.Server.Scheduling.Fleets;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>
/// Protects: who does what a receipt says would help is helped. On random fleets each remedy is carried out as its message says, and the scan finds a
/// node; no easier one is kept back, and no more is asked to be given up than has to be.
/// </summary>
public sealed class RemedyPropertyTests
{
    [Fact]
    public void Whatever_is_said_to_help_helps()
    {
        var (asked, helped) = (0, 0);
        Gen.Select(RandomFleets.Node.List[1, 8], RandomFleets.Request.List[0, 10], RandomFleets.Request).Sample(
            (nodes, others, request) =>
            {
                var scene = new Scene([.. nodes.DistinctBy(node => node.Name)]);
                others.ForEach(scene.Place);
                if (scene.Fits(request))
                {
                    return;
                }

                var remedies = RemedyFinder.Find(request, scene.View);
                Interlocked.Increment(ref asked);
                Interlocked.Add(ref helped, remedies.Count > 0 ? 1 : 0);
                Assert.True(remedies.Count <= RemedyFinder.MaxRemedies);
                foreach (var remedy in remedies)
                {
                    Assert.True(scene.Fits(request, remedy), $"{remedy.Text} does not help");
                    AssertNoLessHelps(scene, request, remedy);
                }

                if (SimpleChanges(scene, request).Any(changed => changed))
                {
                    Assert.Single(remedies[0].Steps);
                }
            },
            iter: 4000, threads: 1);

        // Most of those that fit nowhere are told something.
        Assert.True(helped > 500 && helped * 10 > asked * 8, $"{helped} of {asked}");
    }

    /// <summary>Whether one thing alone helps, found out without asking for remedies.</summary>
    private static IEnumerable<bool> SimpleChanges(Scene scene, PlacementRequest request)
    {
        yield return scene.Fits(request with { Region = "" });
        yield return scene.Fits(request with { Tolerations = [.. request.Tolerations, new Toleration { Key = "dedicated" }] });
        yield return scene.Fits(request with { Ports = [] }) && request.Ports.Count == 1;
        foreach (var node in scene.Nodes)
        {
            yield return scene.With(node with { Scheduling = NodeScheduling.Schedulable }).Fits(request);
            yield return scene.With(node with { Liveness = NodeLiveness.Ready }).Fits(request);
        }
    }

    private static void AssertNoLessHelps(Scene scene, PlacementRequest request, PlacementRemedy remedy)
    {
        foreach (var (index, step) in remedy.Steps.Index().Where(entry => entry.Item.Kind == RemedyKind.AskLess))
        {
            foreach (var tooLittle in OneLess(step.Less))
            {
                var changed = remedy.Clone();
                changed.Steps[index].Less = tooLittle;
                Assert.True(tooLittle.Equals(step.Less) || !scene.FitsOn(remedy.Nodes[0], request, changed), $"{remedy.Text}: less would do");
            }
        }
    }

    private static IEnumerable<Resources> OneLess(Resources less)
    {
        yield return new Resources(less) { CpuMillicores = Math.Max(0, less.CpuMillicores - 1) };
        yield return new Resources(less) { MemoryBytes = Math.Max(0, less.MemoryBytes - 1) };
        foreach (var (name, count) in less.Devices)
        {
            yield return new Resources(less) { Devices = { [name] = count - 1 } };
        }
    }

    private sealed class Scene(IReadOnlyList<CandidateNode> nodes)
    {
        private List<PlacedInstance> _placed = [];

        public IReadOnlyList<CandidateNode> Nodes { get; private set; } = nodes;

        public FleetView View => new(ResourceVersion.Of(Incarnation.First, 7), Nodes) { Placed = _placed };

        public void Place(PlacementRequest request)
        {
            if (Scheduler.Decide(request, View, Scheduling.Nodes.Now).Node is not { } node)
            {
                return;
            }

            Nodes = With(node with
            {
                Allocated = node.Allocated + request.Reserve,
                AllocatedDevices = node.AllocatedDevices + request.Devices,
                InstanceCount = node.InstanceCount + 1,
                UsedPorts = [.. node.UsedPorts, .. request.Ports],
            }).Nodes;
            _placed.Add(new(node.Id, request.Project, request.Labels, [.. request.AntiAffinity.Where(term => !term.Preferred)]));
        }

        public Scene With(CandidateNode node) => new(
            Nodes.Any(known => known.Name == node.Name) ? [.. Nodes.Select(known => known.Name == node.Name ? node : known)] : [.. Nodes, node])
        { _placed = _placed };

        public bool Fits(PlacementRequest request) => Scheduler.Decide(request, View, Scheduling.Nodes.Now).Node is not null;

        public bool Fits(PlacementRequest request, PlacementRemedy remedy)
        {
            var (scene, asked) = Apply(request, remedy);
            return scene.Fits(asked);
        }

        public bool FitsOn(string name, PlacementRequest request, PlacementRemedy remedy)
        {
            var (scene, asked) = Apply(request, remedy);
            var node = scene.Nodes.Single(node => node.Name == name);
            return Scheduler.Filters(asked, scene.View).All(filter => filter.Judge(asked, node) is null);
        }

        private (Scene Scene, PlacementRequest Request) Apply(PlacementRequest request, PlacementRemedy remedy)
        {
            var scene = this;
            foreach (var step in remedy.Steps)
            {
                if (ChangedNode(step, remedy.Nodes.FirstOrDefault() ?? step.Subject, scene, request) is { } node)
                {
                    scene = scene.With(node);
                }

                request = Changed(request, step);
            }

            return (scene, request);
        }

        private static CandidateNode? ChangedNode(RemedyStep step, string name, Scene scene, PlacementRequest request)
        {
            var node = scene.Nodes.Single(node => node.Name == name);
            switch (step.Kind)
            {
                case RemedyKind.Uncordon:
                    return node with { Scheduling = NodeScheduling.Schedulable };
                case RemedyKind.ReviveNode:
                    return node with { Liveness = NodeLiveness.Ready };
                case RemedyKind.AddLabel:
                    var label = step.Subject.Split('=');
                    return node with { Labels = new Dictionary<string, string>(node.Labels) { [label[0]] = label[1] } };
                case RemedyKind.AddDriver:
                    var inventory = node.Inventory.Clone();
                    inventory.Runtimes.Add(new RuntimeInfo { Type = Enum.Parse<InstanceType>(step.Subject, ignoreCase: true), Available = true });
                    return node with { Inventory = inventory };
                case RemedyKind.AddNode:
                    var fresh = Scheduling.Nodes.Node("fresh") with { Inventory = node.Inventory, Labels = node.Labels, Taints = node.Taints, Capacity = node.Capacity, Devices = node.Devices };
                    return step.Elsewhere.Length == 0 ? fresh : Topology.Moved(fresh, step.Elsewhere, "new");
                default:
                    return null;
            }
        }

        private static PlacementRequest Changed(PlacementRequest request, RemedyStep step) => step.Kind switch
        {
            RemedyKind.AskLess => request with { Reserve = request.Reserve - ResourceAmount.Of(step.Less), Devices = request.Devices - DeviceAmounts.Of(step.Less) },
            RemedyKind.Tolerate => request with { Tolerations = [.. request.Tolerations, Toleration(step.Subject)] },
            RemedyKind.OtherPort => request with { Ports = [.. request.Ports.Where(port => port.ToString() != step.Subject)] },
            RemedyKind.OtherLocation when step.Subject.StartsWith("zone=", StringComparison.Ordinal) => request with { Zone = "" },
            RemedyKind.OtherLocation => request with { Region = "" },
            RemedyKind.RaiseSkew => request with { Spread = Each(request.Spread, step, term => term with { MaxSkew = Math.Max(term.MaxSkew, step.MaxSkew) }) },
            RemedyKind.PreferSpread => request with { Spread = Each(request.Spread, step, term => term with { Preferred = true }) },
            RemedyKind.PreferAffinity => request with { Affinity = Each(request.Affinity, step) },
            RemedyKind.PreferAntiAffinity => request with { AntiAffinity = Each(request.AntiAffinity, step) },
            RemedyKind.AnyAccelerator => request with { Accelerator = AcceleratorRequirement.Unspecified },
            _ => request,
        };

        private static IReadOnlyList<NeighbourTerm> Each(IReadOnlyList<NeighbourTerm> terms, RemedyStep step) =>
            [.. terms.Select(term => $"{term.Text}@{term.Topology}" == step.Subject ? term with { Preferred = true } : term)];

        private static IReadOnlyList<SpreadTerm> Each(IReadOnlyList<SpreadTerm> terms, RemedyStep step, Func<SpreadTerm, SpreadTerm> change) =>
            [.. terms.Select(term => $"{term.Text}@{term.Topology}" == step.Subject ? change(term) : term)];

        private static Toleration Toleration(string text)
        {
            var (taint, effect) = (text[..text.LastIndexOf(':')].Split('='), text[(text.LastIndexOf(':') + 1)..]);
            return new() { Key = taint[0], Value = taint.ElementAtOrDefault(1) ?? "", Effect = effect == "no-schedule" ? TaintEffect.NoSchedule : TaintEffect.NoExecute };
        }
    }
}
