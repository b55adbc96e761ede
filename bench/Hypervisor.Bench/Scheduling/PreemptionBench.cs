using System.Diagnostics;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// A fleet on which every CPU and every byte is taken by instances of five low priorities, and instances of 200 shapes with a high one. Decisions: who has to
/// leave where for each, over memory. Durable: until each has its node in etcd, with agents that stop and remove what is told to leave at once.
/// </summary>
internal static class PreemptionBench
{
    private const int Nodes = 5_000;
    private const int Decided = 20_000;
    private const int Placed = 10_000;
    private const int Rounds = 3;
    private const int MillicoresOfEach = 8_000;
    private const int Priorities = 5;

    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(4);

    public static async Task RunDecisionsAsync()
    {
        await using var scene = await FullAsync(durable: false, Decided);
        var rates = new List<double>();
        for (var round = 0; round <= Rounds; round++)
        {
            var decided = 0;
            var spent = TimeSpan.Zero;
            while (decided < Decided / Rounds)
            {
                var started = Stopwatch.GetTimestamp();
                var plans = new List<QueuedPlan>(Server.Limits.Control.Claims);
                while (plans.Count < Server.Limits.Control.Claims && scene.Placer.PlanNext(scene.Term) is { } plan)
                {
                    plans.Add(plan.Preemption is null ? throw new InvalidOperationException("One was placed, or fits nowhere.") : plan);
                }

                spent += Stopwatch.GetElapsedTime(started);
                decided += plans.Count;
                plans.ForEach(plan => Placer.Unclaim(scene.Term, plan.Entry.Id));
                Placer.PutBack(scene.Term, plans.Select(plan => plan.Item));
            }

            rates.Add(decided / spent.TotalSeconds);
        }

        // The first one is to warm up.
        Metric.Print("scheduler.preemption.decisions_per_s", Metric.Median(rates[1..]), "1/s");
    }

    public static async Task RunDurableAsync()
    {
        var rates = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            await using var scene = await FullAsync(durable: true, Placed);
            using var ending = new CancellationTokenSource();
            var agents = ObeyAsync(scene, ending.Token);
            var started = Stopwatch.GetTimestamp();
            var running = scene.Controller.RunAsync(scene.Term, ending.Token);
            await scene.UntilAsync(view => !view.UnplacedInstances.Any(instance => instance.Spec.Constraints.Priority > 0), _patience, agents);
            rates.Add(Placed / Stopwatch.GetElapsedTime(started).TotalSeconds);
            await ending.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await agents.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        Metric.Print("scheduler.preemption.durable_per_s", Metric.Median(rates), "1/s");
    }

    private static async Task<PlacementScene> FullAsync(bool durable, int waiting)
    {
        var scene = await PlacementScene.StartAsync(durable);
        var workload = new Workload(Nodes);
        await scene.WriteAllAsync(workload.Nodes.Select(SceneRecords.Node));
        var like = workload.Shapes(1)[0];
        var placed = new List<(PlacementRequest Request, CandidateNode Node)>();
        foreach (var node in workload.Nodes)
        {
            var count = (int)(node.Capacity.CpuMillicores / MillicoresOfEach);
            var each = new ResourceAmount(node.Capacity.CpuMillicores / count, node.Capacity.MemoryBytes / count, 0);
            placed.AddRange(Enumerable.Range(0, count).Select(_ => (like with { Reserve = each, Priority = (placed.Count % Priorities) - Priorities }, node)));
        }

        await scene.WriteAllAsync(placed.Select((one, index) => SceneRecords.Placed(one.Request, index, one.Node)));
        var shapes = workload.Shapes(200);
        var order = workload.Skewed(shapes.Count, waiting);
        await scene.WriteAllAsync(order.Select((shape, index) => SceneRecords.Instance(shapes[shape] with { Priority = 100 }, placed.Count + index)));
        await scene.LeadAsync();
        return scene;
    }

    /// <summary>Until cancelled: what is told to leave is stopped, and then removed.</summary>
    private static async Task ObeyAsync(PlacementScene scene, CancellationToken cancellationToken)
    {
        var intake = new StatusIntake(new(scene.State, scene.Store, RealTime.Clock), scene.State, scene.Writer, RealTime.Clock);
        using var changes = scene.State.Subscribe(scene.State.View.Revision);
        var leaving = new List<Task>();
        while (true)
        {
            var read = await changes.ReadAsync(TimeSpan.FromSeconds(1), cancellationToken);
            if (read.Kind == FeedReadKind.Resync)
            {
                throw new InvalidOperationException("The agents fell behind.");
            }

            foreach (var (old, current) in read.Change?.Instances ?? [])
            {
                if (current?.Eviction is not null && old?.Eviction is null)
                {
                    leaving.Add(LeaveAsync(current));
                }
            }

            leaving.RemoveAll(task => task.IsCompletedSuccessfully);
            if (leaving.Find(task => task.IsFaulted) is { } failed)
            {
                await failed;
            }
        }

        async Task LeaveAsync(InstanceEntry instance)
        {
            var (node, epoch) = (instance.NodeId!.Value, instance.Epoch.Value);
            var stopped = new StatusReport { Uid = instance.Id.Value, Epoch = epoch, Status = new() { State = InstanceState.Stopped } };
            await intake.ReportAsync(node, new() { Reports = { stopped } }, cancellationToken);
            await intake.ReportAsync(node, new() { Removed = { new Removal { Uid = instance.Id.Value, Epoch = epoch } } }, cancellationToken);
        }
    }
}
