namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>How full a node would be.</summary>
internal static class Utilisation
{
    /// <summary>
    /// Mean of the CPU and memory shares in use once the instance is there, 0-1. Disk is left out: most instances ask for
    /// none, and then it would only blur the other two.
    /// </summary>
    public static double After(PlacementRequest request, CandidateNode node)
    {
        var (cpu, memory) = Shares(request, node);
        return (cpu + memory) / 2;
    }

    /// <summary>Of CPU and memory, each 0-1, once the instance is there.</summary>
    public static (double Cpu, double Memory) Shares(PlacementRequest request, CandidateNode node)
    {
        var used = node.Allocated + request.Reserve;
        return (Share(used.CpuMillicores, node.Capacity.CpuMillicores), Share(used.MemoryBytes, node.Capacity.MemoryBytes));
    }

    private static double Share(long used, long capacity) => capacity <= 0 ? 1 : Math.Clamp((double)used / capacity, 0, 1);
}
