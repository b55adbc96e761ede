using System.Globalization;

namespace Hypervisor.Server.Api.Validation;

/// <summary>The signals of signal(7) on Linux, by name or number.</summary>
internal static class Signals
{
    private const int Maximum = 64;

    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
        "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
        "PWR", "SYS",
    };

    /// <param name="signal">"SIGTERM", "TERM" or "15".</param>
    public static bool IsKnown(string signal) =>
        int.TryParse(signal, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number is >= 1 and <= Maximum
            : Names.Contains(signal.StartsWith("SIG", StringComparison.Ordinal) ? signal[3..] : signal);
}
