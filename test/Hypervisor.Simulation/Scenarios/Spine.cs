using Hypervisor.Protocol.V1;
using Hypervisor.Simulation.Checks;
using Hypervisor.Simulation.Cluster;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>The spine under fire: users work while faults happen; afterwards everything must settle and agree.</summary>
internal static class Spine
{
    private const int Workers = 5;
    private const int InstancesEach = 7;
    private static readonly TimeSpan Trouble = TimeSpan.FromSeconds(45);
    private static readonly TimeSpan Settle = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(30);

    public static SpineRun Run(ulong seed, Sabotage? sabotage = null)
    {
        sabotage ??= new Sabotage();
        var loop = new SimulationLoop(seed);
        var ledger = new Ledger();
        var watch = new WatchFold();
        var nemesis = 0;
        var instances = 0;
        loop.Run(
            async () =>
            {
                var cluster = new SimulatedCluster(loop, sabotage);
                foreach (var host in cluster.Hosts)
                {
                    host.Machine.Observer = effect => ledger.Effect(host.Name, effect);
                }

                cluster.StartServer();
                foreach (var host in cluster.Hosts)
                {
                    cluster.StartAgent(host);
                }

                var users = new Users(cluster, ledger, watch, sabotage);
                var faults = new Nemesis(cluster);
                using var stop = new CancellationTokenSource();
                var watching = users.WatchAsync(stop.Token);
                await Task.WhenAll([faults.RunAsync(Trouble), .. Enumerable.Range(0, Workers).Select(worker => users.WorkAsync($"user{worker}", InstancesEach))]);
                nemesis = faults.Faults;

                var list = await SettledAsync(cluster, users, watch, ledger);
                instances = list.Instances.Count;
                watch.Compare(list);
                ledger.Compare(list.Instances, Held(cluster));
                stop.Cancel();
                await watching;
                if (cluster.Crash is { } crash)
                {
                    throw new SimulationException(loop, $"a process crashed: {crash}");
                }
            },
            Limit);
        return new SpineRun(
            seed, [.. ledger.Violations, .. watch.Violations], loop.Fingerprint, loop.Steps, nemesis, ledger.Effects, watch.Events, watch.Resyncs, instances);
    }

    /// <summary>Converges: nothing stays on its way. What does not settle in time is a violation, and is compared as it is.</summary>
    private static async Task<ListInstancesResponse> SettledAsync(SimulatedCluster cluster, Users users, WatchFold watch, Ledger ledger)
    {
        var clock = cluster.Loop.Outside.Clock;
        var started = clock.GetTimestamp();
        while (true)
        {
            var list = await users.ListAsync();
            var placed = list.Instances.Select(instance => (instance.Placement.Node, instance.Metadata.Uid)).ToHashSet();
            var orphans = Held(cluster).Where(held => !placed.Contains(held)).ToList();
            var unsettled = list.Instances.Where(instance => !IsSettled(instance, ledger)).ToList();
            if (unsettled.Count == 0 && orphans.Count == 0 && watch.IsAt(list))
            {
                return list;
            }

            if (cluster.Crash is not null || clock.GetElapsedTime(started) > Settle)
            {
                ledger.Violations.AddRange(unsettled.Select(instance => $"Converges: {instance.Metadata.Name} stays {instance.Status?.State} "
                    + $"({instance.Status?.Reason}) at generation {instance.Status?.ObservedGeneration} of {instance.Metadata.Generation} on '{instance.Placement?.Node}'"));
                if (!watch.IsAt(list))
                {
                    ledger.Violations.Add($"Converges: the watch is at {watch.Position}, its last change at {watch.LastChange}, the list at {list.List.ResourceVersion}");
                }

                return list;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(500), clock);
        }
    }

    /// <summary>What the machines hold, in their runtimes and on their networks.</summary>
    private static IEnumerable<(string Host, string Uid)> Held(SimulatedCluster cluster) => cluster.Hosts.SelectMany(host =>
        host.Machine.All().Select(instance => instance.Id.Value).Union(host.Machine.Attachments.Keys).Select(uid => (host.Name, uid)));

    private static bool IsSettled(Instance instance, Ledger ledger)
    {
        var expected = instance.Spec.DesiredState == DesiredState.Stopped ? InstanceState.Stopped
            : ledger.HasEnded(instance.Metadata.Uid) ? InstanceState.Failed
            : InstanceState.Running;
        return instance.Status is { } status && status.ObservedGeneration == instance.Metadata.Generation && status.State == expected;
    }
}

/// <summary>What a run showed.</summary>
internal sealed record SpineRun(
    ulong Seed, IReadOnlyList<string> Violations, ulong Fingerprint, long Steps, int Faults, long Effects, long WatchEvents, long Resyncs, int Instances)
{
    public override string ToString() =>
        $"seed {Seed}: {Faults} faults, {Steps} steps, {Effects} effects, {WatchEvents} watch events, {Resyncs} resyncs, {Instances} instances at the end; "
        + (Violations.Count == 0 ? "no violations" : $"violations:\n{string.Join('\n', Violations)}");
}
