namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>What the instances of one project hold together.</summary>
internal sealed class ProjectUsage
{
    public ResourceAmount Amount { get; private set; }

    /// <summary>Counts changes.</summary>
    public long Version { get; private set; }

    public void Add(ResourceAmount amount, int sign)
    {
        Amount = new(
            Amount.CpuMillicores + (sign * amount.CpuMillicores),
            Amount.MemoryBytes + (sign * amount.MemoryBytes),
            Amount.DiskBytes + (sign * amount.DiskBytes));
        Version++;
    }

    /// <summary>Of the resource of which it holds the largest share: its share of that, 0 and up.</summary>
    public double DominantShare(ResourceAmount all) => Math.Max(
        Share(Amount.CpuMillicores, all.CpuMillicores),
        Math.Max(Share(Amount.MemoryBytes, all.MemoryBytes), Share(Amount.DiskBytes, all.DiskBytes)));

    private static double Share(long amount, long all) => all > 0 ? (double)amount / all : 0;
}
