namespace Hypervisor.Ctl.Errors;

/// <summary>Ends the command with an exit code and a message for the user; <paramref name="hint"/> says what to do next.</summary>
internal sealed class CtlException(int exitCode, string message, string? hint = null) : Exception(message)
{
    public int ExitCode { get; } = exitCode;

    public string? Hint { get; } = hint;

    public static CtlException Usage(string message, string? hint = null) => new(Errors.ExitCode.Usage, message, hint);
}
