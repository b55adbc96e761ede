using System.Globalization;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>Resident memory of the idle programs: the larger of two readings after they have settled.</summary>
internal static class MemoryBench
{
    // Idle is what comes after: heartbeats, the periodic reconcile, and the programs giving back what starting needed (after 10 to 20 s).
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(30);

    public static async Task RunAsync()
    {
        await using var cluster = await LocalCluster.StartAsync();
        await Task.Delay(Settle, RealTime.Clock);
        var agent = ResidentMb(cluster.Agent.Id);
        var server = ResidentMb(cluster.Server.Id);
        await Task.Delay(Settle / 2, RealTime.Clock);
        Metric.Print("memory.agent_mb", Math.Max(agent, ResidentMb(cluster.Agent.Id)), "MB");
        Metric.Print("memory.server_mb", Math.Max(server, ResidentMb(cluster.Server.Id)), "MB");
    }

    private static double ResidentMb(int processId)
    {
        var line = File.ReadLines($"/proc/{processId}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return double.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024 / 1e6;
    }
}
