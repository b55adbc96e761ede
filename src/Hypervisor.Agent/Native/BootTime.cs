using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Native;

/// <summary>clock_gettime(2) of CLOCK_BOOTTIME.</summary>
internal static partial class BootTime
{
    private const int ClockBootTime = 7;

    /// <summary>Since the machine was booted, time in suspend included.</summary>
    public static TimeSpan Now
    {
        get
        {
            if (GetTime(ClockBootTime, out var now) != 0)
            {
                throw new Win32Exception(Marshal.GetLastPInvokeError(), "clock_gettime(CLOCK_BOOTTIME)");
            }

            return new TimeSpan((now.Seconds * TimeSpan.TicksPerSecond) + (now.Nanoseconds / TimeSpan.NanosecondsPerTick));
        }
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int GetTime(int clock, out TimeSpec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
