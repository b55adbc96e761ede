using System.Diagnostics;
using System.Globalization;
using Grpc.Net.Client;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Fleets;

/// <summary>
/// A simulated fleet over real sockets, watched for a while: what its heartbeats cost the server and its store. Of a server that is started for
/// the run, processor time is that of its process, less what it used just before while no node was there.
/// </summary>
internal static class FleetRun
{
    /// <summary>A node registers in some milliseconds, ten thousand in a minute; twenty times that is a server that does not answer.</summary>
    private static readonly TimeSpan RegisterWithin = TimeSpan.FromMinutes(20);

    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Line = TimeSpan.FromSeconds(10);

    public static async Task RunAsync(FleetOptions options, CancellationToken cancellationToken)
    {
        await using var own = options.Server is null ? await BenchServer.StartAsync() : null;
        var address = own?.Grpc ?? new Uri($"http://{options.Server}");
        using var channel = GrpcChannel.ForAddress(address);
        var cluster = new ClusterService.ClusterServiceClient(channel);
        await RefuseRealNodesAsync(cluster, cancellationToken);
        var idle = own is null ? 0 : await CoresAsync(own, Idle, cancellationToken);

        var started = Stopwatch.GetTimestamp();
        await using var fleet = new SimulatedFleet(address, options.Script, options.Script.Nodes(options.Nodes, options.Prefix), RealTime.Clock);
        await fleet.StartAsync(RegisterWithin);
        Metric.Print("fleet.nodes", options.Nodes, "nodes");
        Metric.Print("fleet.connections", (options.Nodes + FleetConnection.MaxNodes - 1) / FleetConnection.MaxNodes, "connections");
        Metric.Print("fleet.registered_s", Stopwatch.GetElapsedTime(started).TotalSeconds, "s");
        if (options.Script.Events.Count == 0)
        {
            await Task.Delay(Settle, RealTime.Clock, cancellationToken);
        }

        await MeasureAsync(options, fleet, cluster, own, idle, cancellationToken);
    }

    private static async Task MeasureAsync(
        FleetOptions options, SimulatedFleet fleet, ClusterService.ClusterServiceClient cluster, BenchServer? own, double idle, CancellationToken cancellationToken)
    {
        fleet.Counters.Answers.Clear();
        var before = await cluster.GetClusterInfoAsync(new(), cancellationToken: cancellationToken);
        var (beats, messages, late, started) = (fleet.Counters.Acknowledged, fleet.Counters.Messages, fleet.Counters.Late, Stopwatch.GetTimestamp());
        var (server, self) = (own?.ProcessorMilliseconds ?? 0, Environment.CpuUsage.TotalTime);
        while (Stopwatch.GetElapsedTime(started) is var passed && passed < options.Lasts)
        {
            await Task.Delay(options.Lasts - passed < Line ? options.Lasts - passed : Line, RealTime.Clock, cancellationToken);
            fleet.ThrowIfFailed();
            Tell(fleet, Stopwatch.GetElapsedTime(started), await cluster.GetClusterInfoAsync(new(), cancellationToken: cancellationToken));
        }

        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        (server, self) = ((own?.ProcessorMilliseconds ?? 0) - server, Environment.CpuUsage.TotalTime - self);
        var after = await cluster.GetClusterInfoAsync(new(), cancellationToken: cancellationToken);
        beats = fleet.Counters.Acknowledged - beats;
        var writes = new ResourceVersion(after.ResourceVersion).Revision - new ResourceVersion(before.ResourceVersion).Revision;
        if (own is not null)
        {
            Metric.Print("fleet.idle_cores", idle, "cores");
            Metric.Print("fleet.heartbeat_cores", (server / 1000 / seconds) - idle, "cores");
        }

        Metric.Print("fleet.simulator_cores", self.TotalSeconds / seconds, "cores");
        Metric.Print("fleet.heartbeats_per_s", beats / seconds, "1/s");
        Metric.Print("fleet.store_writes_per_heartbeat", beats == 0 ? 0 : (double)writes / beats, "writes");
        Metric.Print("fleet.messages", fleet.Counters.Messages - messages, "messages");
        Metric.Print("fleet.late_heartbeats", fleet.Counters.Late - late, "heartbeats");
        Metric.Print("fleet.heartbeat_p50_ms", fleet.Counters.Answers.Percentile(0.5).TotalMilliseconds, "ms");
        Metric.Print("fleet.heartbeat_p99_ms", fleet.Counters.Answers.Percentile(0.99).TotalMilliseconds, "ms");
        Metric.Print("fleet.nodes_ready", after.NodesReady, "nodes");
        Metric.Print("fleet.broken", fleet.Counters.Broken, "lives");
    }

    private static void Tell(SimulatedFleet fleet, TimeSpan at, ClusterInfo info) => Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{at.TotalSeconds,6:0} s: {info.NodesReady} of {info.NodesTotal} nodes ready, {info.InstancesRunning} of {info.InstancesTotal} instances running, {fleet.Counters.Held} at their nodes{(fleet.LastFailure.Length > 0 ? $"; last failure {fleet.LastFailure}" : "")}"));

    private static async Task<double> CoresAsync(BenchServer server, TimeSpan time, CancellationToken cancellationToken)
    {
        await Task.Delay(Settle, RealTime.Clock, cancellationToken);
        var (before, started) = (server.ProcessorMilliseconds, Stopwatch.GetTimestamp());
        await Task.Delay(time, RealTime.Clock, cancellationToken);
        return (server.ProcessorMilliseconds - before) / Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    /// <summary>Instances that somebody needs would be placed on nodes that only say that they run them.</summary>
    private static async Task RefuseRealNodesAsync(ClusterService.ClusterServiceClient cluster, CancellationToken cancellationToken)
    {
        var real = await cluster.ListNodesAsync(new() { PageSize = 1, LabelSelector = $"!{SimulatedAgent.Label}" }, cancellationToken: cancellationToken);
        if (real.Nodes.FirstOrDefault() is { } node)
        {
            throw new BadUsageException(
                $"--server: has real nodes ({node.Metadata.Name}) – simulate on a server of its own: instances placed on simulated nodes run nowhere");
        }
    }
}
