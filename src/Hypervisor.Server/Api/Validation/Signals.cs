using System.Globalization;

namespace Hypervisor.Server.Api.Validation;

/// <summary>The signals of signal(7) on Linux, by name or number.</summary>
internal static class Signals
{
    private const int Maximum = 64;

    /// <summary>As glibc and musl have it.</summary>
    private const int FirstRealTime = 34;

    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
        "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
        "PWR", "SYS",
    };

    /// <param name="signal">"SIGTERM", "TERM", "15", "SIGRTMIN+3" or "RTMAX-1".</param>
    public static bool IsKnown(string signal)
    {
        if (Number(signal) is { } number)
        {
            return number is >= 1 and <= Maximum;
        }

        var name = signal.StartsWith("SIG", StringComparison.Ordinal) ? signal[3..] : signal;
        return Names.Contains(name)
            || name is "RTMIN" or "RTMAX"
            || ((name.StartsWith("RTMIN+", StringComparison.Ordinal) || name.StartsWith("RTMAX-", StringComparison.Ordinal))
                && Number(name[6..]) is <= Maximum - FirstRealTime);
    }

    private static int? Number(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
