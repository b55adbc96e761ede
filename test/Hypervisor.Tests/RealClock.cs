namespace Hypervisor.Tests;

/// <summary>The one place where tests take the machine's clock: those that really wait on sockets and processes.</summary>
internal static class RealClock
{
#pragma warning disable RS0030 // A real Kestrel and a real client do not live on a clock that tests move.
    public static TimeProvider Instance => TimeProvider.System;
#pragma warning restore RS0030
}
