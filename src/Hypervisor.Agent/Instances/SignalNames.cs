using System.Globalization;

namespace Hypervisor.Agent.Instances;

/// <summary>Names of Linux signals as on x86-64 and arm64; signal(7).</summary>
internal static class SignalNames
{
    public const int Terminate = 15;

    private const int Maximum = 64;

    /// <summary>As glibc and musl have it: the kernel's first two real-time signals are their own.</summary>
    private const int FirstRealTime = 34;

    private static readonly string[] Names =
    [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];

    /// <summary>" (SIGKILL)", or nothing for a signal that has no name.</summary>
    public static string Suffix(int signal) => signal >= 1 && signal <= Names.Length ? $" (SIG{Names[signal - 1]})" : "";

    /// <summary>The number of "SIGTERM", "TERM", "15", "SIGRTMIN+3" or "RTMAX-1"; null for what is none.</summary>
    public static int? Parse(string text)
    {
        if (Number(text) is { } number)
        {
            return number > 0 ? number : null;
        }

        var name = text.StartsWith("SIG", StringComparison.Ordinal) ? text[3..] : text;
        if (Array.IndexOf(Names, name) is >= 0 and var index)
        {
            return index + 1;
        }

        var signal = name switch
        {
            "RTMIN" => FirstRealTime,
            "RTMAX" => Maximum,
            _ when name.StartsWith("RTMIN+", StringComparison.Ordinal) => FirstRealTime + Number(name[6..]),
            _ when name.StartsWith("RTMAX-", StringComparison.Ordinal) => Maximum - Number(name[6..]),
            _ => null,
        };
        return signal is >= FirstRealTime and <= Maximum ? signal : null;
    }

    private static int? Number(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= Maximum ? number : null;
}
