namespace Hypervisor.Agent.Instances;

/// <summary>Names of Linux signals as on x86-64 and arm64; signal(7).</summary>
internal static class SignalNames
{
    /// <summary>" (SIGKILL)", or nothing for a signal that has no common name.</summary>
    public static string Suffix(int signal) => signal switch
    {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        10 => " (SIGUSR1)",
        11 => " (SIGSEGV)",
        12 => " (SIGUSR2)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    };

    /// <summary>The number of "SIGTERM", "TERM" or "15"; null for what is none.</summary>
    public static int? Parse(string text)
    {
        if (int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var number))
        {
            return number is > 0 and < 65 ? number : null;
        }

        var name = text.StartsWith("SIG", StringComparison.Ordinal) ? text : "SIG" + text;
        for (var signal = 1; signal < 32; signal++)
        {
            if (Suffix(signal) is { Length: > 0 } suffix && suffix.AsSpan(2, suffix.Length - 3).SequenceEqual(name))
            {
                return signal;
            }
        }

        return null;
    }
}
