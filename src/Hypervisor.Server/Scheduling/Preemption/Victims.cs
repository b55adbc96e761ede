namespace Hypervisor.Server.Scheduling.Preemption;

/// <summary>An instance that may be told to leave its node.</summary>
/// <param name="Grace">How long it may take to stop.</param>
internal sealed record Victim(string Uid, int Priority, ResourceAmount Amount, IReadOnlyList<PortClaim> Ports, TimeSpan Grace)
{
    public DeviceAmounts Devices { get; init; }
}

/// <summary>Who has to leave one node, so that an instance of a higher priority has room there: a pure function.</summary>
internal static class Victims
{
    /// <summary>
    /// As few as can be found by always taking the one that helps most, and none that could stay: of equals those of the lowest priority, then those
    /// that stop soonest. One alone that will do is always found. Null when all of them would not be enough.
    /// </summary>
    /// <param name="amount">What is missing on the node; nothing where it is not above zero.</param>
    /// <param name="devices">Likewise.</param>
    /// <param name="ports">That have to become free.</param>
    public static IReadOnlyList<Victim>? Choose(
        ResourceAmount amount, DeviceAmounts devices, IReadOnlyList<PortClaim> ports, IReadOnlyList<Victim> candidates)
    {
        var lack = new Lack(amount, devices);
        var chosen = candidates.Where(victim => victim.Ports.Any(claim => ports.Any(claim.ConflictsWith))).ToList();
        if (ports.Any(port => !chosen.Any(victim => victim.Ports.Any(port.ConflictsWith))))
        {
            return null;
        }

        var needed = chosen.Count;
        var left = chosen.Aggregate(lack, static (left, victim) => left.Without(victim));
        if (!left.IsMet && candidates.Where(victim => !chosen.Contains(victim) && left.Without(victim).IsMet).Order(_cheapest).FirstOrDefault() is { } alone)
        {
            chosen.Add(alone);
            left = left.Without(alone);
        }

        while (!left.IsMet)
        {
            if (candidates.Except(chosen).MinBy(victim => (-left.Help(lack, victim), victim.Priority, victim.Grace, victim.Uid)) is not { } next
                || left.Help(lack, next) <= 0)
            {
                return null;
            }

            chosen.Add(next);
            left = left.Without(next);
        }

        foreach (var spared in chosen.Skip(needed).OrderDescending(_cheapest).ToList())
        {
            if (left.With(spared) is { IsMet: true } more)
            {
                chosen.Remove(spared);
                left = more;
            }
        }

        return chosen;
    }

    /// <summary>Which of two sets is the better one to tell to leave: fewer, of lower priority, stopping sooner.</summary>
    public static int Compare(IReadOnlyList<Victim> one, IReadOnlyList<Victim> other) => CostOf(one).CompareTo(CostOf(other));

    /// <summary>By which sets are compared: the smaller one is better.</summary>
    public static (int Count, int Priority, TimeSpan Grace) CostOf(IReadOnlyList<Victim> victims) => (victims.Count, Highest(victims), Longest(victims));

    private static readonly Comparer<Victim> _cheapest = Comparer<Victim>.Create(static (one, other) =>
        (one.Priority, one.Grace, one.Uid).CompareTo((other.Priority, other.Grace, other.Uid)));

    private static int Highest(IReadOnlyList<Victim> victims) => victims.Select(victim => victim.Priority).DefaultIfEmpty(int.MinValue).Max();

    private static TimeSpan Longest(IReadOnlyList<Victim> victims) => victims.Select(victim => victim.Grace).DefaultIfEmpty().Max();

    /// <summary>What is missing on a node.</summary>
    private readonly record struct Lack(ResourceAmount Amount, DeviceAmounts Devices)
    {
        public bool IsMet =>
            Amount is { CpuMillicores: <= 0, MemoryBytes: <= 0, DiskBytes: <= 0 } && (Devices.IsNone || Devices.Each.All(device => device.Count <= 0));

        /// <summary>Once somebody has left.</summary>
        public Lack Without(Victim victim) => new(Amount - victim.Amount, Devices - victim.Devices);

        public Lack With(Victim victim) => new(Amount + victim.Amount, Devices + victim.Devices);

        /// <summary>How much of what is missing somebody would free, as shares of what was missing in the beginning.</summary>
        public double Help(Lack first, Victim victim)
        {
            var help = Share(Amount.CpuMillicores, first.Amount.CpuMillicores, victim.Amount.CpuMillicores)
                + Share(Amount.MemoryBytes, first.Amount.MemoryBytes, victim.Amount.MemoryBytes)
                + Share(Amount.DiskBytes, first.Amount.DiskBytes, victim.Amount.DiskBytes);
            foreach (var (name, count) in Devices.Each)
            {
                help += Share(count, first.Devices[name], victim.Devices[name]);
            }

            return help;
        }

        private static double Share(long left, long lack, long amount) => left > 0 ? Math.Min(left, amount) / (double)Math.Max(left, lack) : 0;
    }
}
