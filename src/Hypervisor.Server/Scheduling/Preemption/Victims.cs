namespace Hypervisor.Server.Scheduling.Preemption;

/// <summary>An instance that may be told to leave its node.</summary>
/// <param name="Grace">How long it may take to stop.</param>
internal sealed record Victim(string Uid, int Priority, ResourceAmount Amount, IReadOnlyList<PortClaim> Ports, TimeSpan Grace);

/// <summary>Who has to leave one node, so that an instance of a higher priority has room there: a pure function.</summary>
internal static class Victims
{
    /// <summary>
    /// As few as can be found by always taking the one that helps most, and none that could stay: of equals those of the lowest priority, then those
    /// that stop soonest. One alone that will do is always found. Null when all of them would not be enough.
    /// </summary>
    /// <param name="lack">What is missing on the node; nothing where it is not above zero.</param>
    /// <param name="ports">That have to become free.</param>
    public static IReadOnlyList<Victim>? Choose(ResourceAmount lack, IReadOnlyList<PortClaim> ports, IReadOnlyList<Victim> candidates)
    {
        var chosen = candidates.Where(victim => victim.Ports.Any(claim => ports.Any(claim.ConflictsWith))).ToList();
        if (ports.Any(port => !chosen.Any(victim => victim.Ports.Any(port.ConflictsWith))))
        {
            return null;
        }

        var needed = chosen.Count;
        var left = chosen.Aggregate(lack, static (left, victim) => left - victim.Amount);
        if (!IsMet(left) && candidates.Where(victim => !chosen.Contains(victim) && IsMet(left - victim.Amount)).Order(_cheapest).FirstOrDefault() is { } alone)
        {
            chosen.Add(alone);
            left -= alone.Amount;
        }

        while (!IsMet(left))
        {
            if (candidates.Except(chosen).MinBy(victim => (-Help(left, lack, victim.Amount), victim.Priority, victim.Grace, victim.Uid)) is not { } next
                || Help(left, lack, next.Amount) <= 0)
            {
                return null;
            }

            chosen.Add(next);
            left -= next.Amount;
        }

        foreach (var spared in chosen.Skip(needed).OrderDescending(_cheapest).ToList())
        {
            if (IsMet(left + spared.Amount))
            {
                chosen.Remove(spared);
                left += spared.Amount;
            }
        }

        return chosen;
    }

    /// <summary>Which of two sets is the better one to tell to leave: fewer, of lower priority, stopping sooner.</summary>
    public static int Compare(IReadOnlyList<Victim> one, IReadOnlyList<Victim> other) =>
        (one.Count, Highest(one), Longest(one)).CompareTo((other.Count, Highest(other), Longest(other)));

    private static readonly Comparer<Victim> _cheapest = Comparer<Victim>.Create(static (one, other) =>
        (one.Priority, one.Grace, one.Uid).CompareTo((other.Priority, other.Grace, other.Uid)));

    private static int Highest(IReadOnlyList<Victim> victims) => victims.Select(victim => victim.Priority).DefaultIfEmpty(int.MinValue).Max();

    private static TimeSpan Longest(IReadOnlyList<Victim> victims) => victims.Select(victim => victim.Grace).DefaultIfEmpty().Max();

    private static bool IsMet(ResourceAmount lack) => lack is { CpuMillicores: <= 0, MemoryBytes: <= 0, DiskBytes: <= 0 };

    /// <summary>How much of what is missing it would free, as shares of what was missing in the beginning.</summary>
    private static double Help(ResourceAmount left, ResourceAmount lack, ResourceAmount amount) =>
        Share(left.CpuMillicores, lack.CpuMillicores, amount.CpuMillicores)
        + Share(left.MemoryBytes, lack.MemoryBytes, amount.MemoryBytes)
        + Share(left.DiskBytes, lack.DiskBytes, amount.DiskBytes);

    private static double Share(long left, long lack, long amount) => left > 0 ? Math.Min(left, amount) / (double)Math.Max(left, lack) : 0;
}
