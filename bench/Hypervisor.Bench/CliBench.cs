using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>Whole processes of the command line, from exec to exit, against a running cluster.</summary>
internal static class CliBench
{
    private const int Runs = 50;

    public static async Task RunAsync()
    {
        await using var cluster = await LocalCluster.StartAsync();
        var version = new List<double>();
        var list = new List<double>();
        var floor = new List<double>();
        for (var run = 0; run < Runs + 5; run++)
        {
            var trueMs = await RunInsideAsync(cluster, "/bin/true");
            var versionMs = await RunInsideAsync(cluster, $"{LocalCluster.Binaries}/hypervisor-ctl", "version");
            var listMs = await RunInsideAsync(cluster, $"{LocalCluster.Binaries}/hypervisor-ctl", "node", "list");
            // The first few fill the page cache.
            if (run >= 5)
            {
                floor.Add(trueMs);
                version.Add(versionMs);
                list.Add(listMs);
            }
        }

        // What starting any program and reading its output costs; contained in the other two, not taken from them.
        Metric.Print("cli.process_floor_ms", Metric.Median(floor), "ms");
        Metric.Print("cli.version_ms", Metric.Median(version), "ms");
        Metric.Print("cli.node_list_ms", Metric.Median(list), "ms");
    }

    private static Task<double> RunInsideAsync(LocalCluster cluster, string program, params string[] arguments) =>
        ProcessTimer.MillisecondsAsync(program, arguments, cluster.NetworkNamespace);
}
