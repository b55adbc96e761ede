namespace Hypervisor.Protocol;

/// <summary>
/// How often the store was restored from backup, counted from 1. It fills the upper 16 bits of epochs and resource
/// versions, so that both keep growing when a restored store's own revision has gone back.
/// </summary>
public readonly record struct Incarnation
{
    /// <summary>Largest value: the sign bit of the combined number stays free.</summary>
    public const int Maximum = 0x7FFF;

    internal const int Shift = 48;
    internal const long LowMask = (1L << Shift) - 1;

    public Incarnation(int value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, Maximum);
        Value = value;
    }

    public static Incarnation First => new(1);

    public int Value { get; }

    public override string ToString() => Value.ToString();
}

/// <summary>A store revision with its incarnation: what clients see as resource_version. 0 means "none".</summary>
public readonly record struct ResourceVersion(long Value) : IComparable<ResourceVersion>
{
    public static ResourceVersion None => default;

    /// <summary>The store's own revision, without the incarnation.</summary>
    public long Revision => Value & Incarnation.LowMask;

    public int IncarnationNumber => (int)(Value >> Incarnation.Shift);

    public static ResourceVersion Of(Incarnation incarnation, long revision)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(revision);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(revision, Incarnation.LowMask);
        return new(((long)incarnation.Value << Incarnation.Shift) | revision);
    }

    public int CompareTo(ResourceVersion other) => Value.CompareTo(other.Value);

    public static bool operator <(ResourceVersion left, ResourceVersion right) => left.Value < right.Value;

    public static bool operator >(ResourceVersion left, ResourceVersion right) => left.Value > right.Value;

    public static bool operator <=(ResourceVersion left, ResourceVersion right) => left.Value <= right.Value;

    public static bool operator >=(ResourceVersion left, ResourceVersion right) => left.Value >= right.Value;

    public override string ToString() => Value.ToString();
}

/// <summary>
/// The number of a placement; only grows for one instance. Every side effect on a runtime, disk or network names it, and a
/// lower one is refused. 0 means "never placed".
/// </summary>
public readonly record struct Epoch(long Value) : IComparable<Epoch>
{
    public static Epoch None => default;

    /// <summary>The first epoch after <paramref name="last"/> under <paramref name="incarnation"/>.</summary>
    public static Epoch After(Epoch last, Incarnation incarnation) =>
        new(Math.Max(last.Value + 1, ((long)incarnation.Value << Incarnation.Shift) + 1));

    public int CompareTo(Epoch other) => Value.CompareTo(other.Value);

    public static bool operator <(Epoch left, Epoch right) => left.Value < right.Value;

    public static bool operator >(Epoch left, Epoch right) => left.Value > right.Value;

    public static bool operator <=(Epoch left, Epoch right) => left.Value <= right.Value;

    public static bool operator >=(Epoch left, Epoch right) => left.Value >= right.Value;

    public override string ToString() => Value.ToString();
}
