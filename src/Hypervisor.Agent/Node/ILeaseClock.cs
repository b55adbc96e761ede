using Hypervisor.Agent.Native;

namespace Hypervisor.Agent.Node;

/// <summary>What leases are measured with: monotonic, and running on while the machine is suspended.</summary>
internal interface ILeaseClock
{
    /// <summary>Since a fixed moment of this boot.</summary>
    TimeSpan Now { get; }
}

/// <summary>CLOCK_BOOTTIME; <see cref="System.Diagnostics.Stopwatch"/> stands still in suspend, so a lease would seem to hold that had run out.</summary>
internal sealed class BootTimeClock : ILeaseClock
{
    public TimeSpan Now => BootTime.Now;
}

/// <summary>Follows an injected clock, in tests and in the simulation.</summary>
internal sealed class TimeProviderLeaseClock(TimeProvider time) : ILeaseClock
{
    private readonly long _origin = time.GetTimestamp();

    public TimeSpan Now => time.GetElapsedTime(_origin);
}
