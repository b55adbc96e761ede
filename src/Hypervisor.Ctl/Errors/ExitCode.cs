namespace Hypervisor.Ctl.Errors;

/// <summary>What the process ends with; part of the command line's contract.</summary>
internal static class ExitCode
{
    public const int Done = 0;

    /// <summary>The server said no, or what was waited for failed.</summary>
    public const int Refused = 1;

    /// <summary>The command line, a file or the configuration is wrong; nothing was sent.</summary>
    public const int Usage = 2;

    public const int Unreachable = 3;

    public const int TimedOut = 4;
}
