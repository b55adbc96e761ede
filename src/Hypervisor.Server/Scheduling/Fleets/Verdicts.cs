namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>Why a row does not take a request, as a number.</summary>
internal static class Verdicts
{
    public const byte Fits = 0;

    /// <summary>After those of <see cref="Scheduler.Able"/>, which are counted from 1.</summary>
    public static readonly byte Ports = (byte)(Scheduler.Able.Count + 1);

    public static readonly byte Room = (byte)(Scheduler.Able.Count + 2);

    public static readonly byte Devices = (byte)(Scheduler.Able.Count + 3);

    public const byte NoNode = 31;

    /// <summary>Of numbers there are.</summary>
    public const int Count = 32;
}
