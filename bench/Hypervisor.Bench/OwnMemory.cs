using System.Globalization;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>Memory of the agent and of every process that it started, without the VMMs: proportional set size, as the kernel counts it.</summary>
internal static class OwnMemory
{
    public static double ProportionalMb(LocalCluster cluster)
    {
        var machines = new Leftovers(cluster).Machines().ToHashSet();
        return Family(cluster.Agent.Id).Where(process => !machines.Contains(process)).Sum(PssKiB) * 1024 / 1e6;
    }

    private static List<int> Family(int ancestor)
    {
        var parents = Directory.GetDirectories("/proc").Select(Path.GetFileName)
            .Where(name => int.TryParse(name, out _))
            .Select(name => int.Parse(name!, CultureInfo.InvariantCulture))
            .ToDictionary(process => process, Parent);
        return [.. parents.Keys.Where(process => IsOf(process))];

        bool IsOf(int process)
        {
            while (process != ancestor && parents.TryGetValue(process, out var parent))
            {
                process = parent;
            }

            return process == ancestor;
        }
    }

    /// <summary>0 for one that has ended meanwhile.</summary>
    private static int Parent(int process)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{process}/stat");
            return int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private static long PssKiB(int process)
    {
        try
        {
            var line = File.ReadLines($"/proc/{process}/smaps_rollup").Single(line => line.StartsWith("Pss:", StringComparison.Ordinal));
            return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
