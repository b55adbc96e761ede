using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Hypervisor.Bench.Fleets;
using Hypervisor.Hosting.Configuration;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// Two million instances on 6,100 nodes: each with its own durable spec and placement in etcd, and arrived at its simulated agent over its stream.
/// That their statuses are durable too is timed apart. Not Nomad's C2M, whose containers really started.
/// </summary>
internal static class C2mBench
{
    private const int Instances = 2_000_000;
    private const int Nodes = 6_100;
    private const int PerCall = 1_000;
    private const int CallsAtOnce = 4;
    private const long QuotaBytes = 8L << 30;

    private static readonly TimeSpan RegisterWithin = TimeSpan.FromMinutes(20);

    /// <summary>Without any instance that arrived.</summary>
    private static readonly TimeSpan Standstill = TimeSpan.FromMinutes(2);

    private static readonly TimeSpan Line = TimeSpan.FromSeconds(10);

    public static Command Build()
    {
        var instances = FleetCommand.Option("--instances", "How many (default 2000000).", Instances, Values.WholeNumber(1, 10_000_000));
        var nodes = FleetCommand.Option("--nodes", "On how many nodes (default 6100).", Nodes, Values.WholeNumber(1, FleetOptions.MaxNodes));
        var command = new Command("c2m", "Two million instances on 6,100 nodes, durable and arrived at their simulated agents.") { instances, nodes };
        command.SetAction((parsed, cancellationToken) => BenchCommand.RunOneAsync(
            () => RunAsync(parsed.GetRequiredValue(instances), parsed.GetRequiredValue(nodes), cancellationToken)));
        return command;
    }

    private static async Task RunAsync(int instances, int nodes, CancellationToken cancellationToken)
    {
        Console.WriteLine("published, other hardware: Nomad C2M 2,000,000 containers, really started, on 6,100 nodes in 22 min 14 s (1,500/s)");
        await using var etcd = await EtcdServer.StartAsync(QuotaBytes);
        var server = etcd.Server;
        var script = new FleetScript { Pools = [new() { Cpus = 64, MemoryBytes = 256L << 30 }] };
        await using var fleet = new SimulatedFleet(server.Grpc, script, script.Nodes(nodes, "sim"), RealTime.Clock, FleetTasks.Beat | FleetTasks.Take);
        await fleet.StartAsync(RegisterWithin);
        using var channel = server.Open();
        var empty = server.PrivateBytes;

        var (started, cpu, etcdCpu, self) = (Stopwatch.GetTimestamp(), server.ProcessorMilliseconds, etcd.EtcdProcessorMilliseconds, Environment.CpuUsage.TotalTime);
        var load = new BulkLoad(new(channel), "c2m");
        var creating = load.CreateAllAsync(instances, PerCall, CallsAtOnce, cancellationToken);
        await UntilAsync(fleet, "arrived", () => fleet.Counters.Held, instances, creating, cancellationToken);
        await creating;
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Metric.Print("c2m.instances", instances, "instances");
        Metric.Print("c2m.nodes", nodes, "nodes");
        Metric.Print("c2m.seconds", seconds, "s");
        Metric.Print("c2m.arrived_per_s", instances / seconds, "1/s");
        Metric.Print("c2m.server_cpu_us_per_instance", (server.ProcessorMilliseconds - cpu) * 1000 / instances, "µs");
        Metric.Print("c2m.etcd_cpu_us_per_instance", (etcd.EtcdProcessorMilliseconds - etcdCpu) * 1000 / instances, "µs");
        Metric.Print("c2m.simulator_cpu_us_per_instance", (Environment.CpuUsage.TotalTime - self).TotalMicroseconds / instances, "µs");
        await Task.Delay(Line, RealTime.Clock, cancellationToken);
        Metric.Print("c2m.bytes_per_instance", (double)(server.PrivateBytes - empty) / instances, "bytes");

        started = Stopwatch.GetTimestamp();
        var reported = fleet.Counters.Reports;
        fleet.ReportAll();
        await UntilAsync(fleet, "reported", () => fleet.Counters.Reports - reported, instances, Task.CompletedTask, cancellationToken);
        Metric.Print("c2m.status_seconds", Stopwatch.GetElapsedTime(started).TotalSeconds, "s");
        Metric.Print("c2m.bytes_per_instance_with_status", (double)(server.PrivateBytes - empty) / instances, "bytes");
    }

    /// <summary>Tells how far it is, and gives up when nothing moves any more.</summary>
    private static async Task UntilAsync(
        SimulatedFleet fleet, string what, Func<long> count, long wanted, Task working, CancellationToken cancellationToken)
    {
        var (started, moved, told, last) = (Stopwatch.GetTimestamp(), Stopwatch.GetTimestamp(), Stopwatch.GetTimestamp(), 0L);
        while (count() is var now && now < wanted)
        {
            fleet.ThrowIfFailed();
            if (working.IsFaulted)
            {
                await working;
            }

            (moved, last) = now == last ? (moved, last) : (Stopwatch.GetTimestamp(), now);
            if (Stopwatch.GetElapsedTime(moved) > Standstill)
            {
                throw new TimeoutException($"{now} of {wanted} instances {what}, and none for {Standstill.TotalSeconds:0} s. {fleet.LastFailure}".TrimEnd());
            }

            if (Stopwatch.GetElapsedTime(told) > Line)
            {
                told = Stopwatch.GetTimestamp();
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(started).TotalSeconds,6:0} s: {now} of {wanted} instances {what}"));
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), RealTime.Clock, cancellationToken);
        }
    }
}
