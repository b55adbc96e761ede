using System.Text.RegularExpressions;
using Grpc.Core;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Turns what containerd, the shim and runc say into a reason and a sentence for the user.</summary>
internal static partial class RuntimeErrors
{
    /// <summary>The runtime cannot be reached or does not answer; nothing is known of what it did.</summary>
    public const string Unavailable = "RuntimeUnavailable";

    public static DriverException Translate(RpcException error, string socketPath) => error.StatusCode switch
    {
        StatusCode.Unavailable when !IsDiskFull(error.Status.Detail) => new(
            Unavailable,
            $"containerd does not answer on {socketPath}; it comes with the package containerd and must be running",
            permanent: false,
            error),
        _ when IsDeadline(error) => new(
            Unavailable, $"containerd on {socketPath} did not answer in time; it may be stuck", permanent: false, error),
        _ => TranslateMessage(error.Status.Detail, error),
    };

    /// <summary>Ours ran out, or the shim's copy of it a moment earlier, which containerd passes on as UNKNOWN, some calls with words before it.</summary>
    public static bool IsDeadline(RpcException error) =>
        error.StatusCode == StatusCode.DeadlineExceeded
        || error.Status.Detail.Contains("context deadline exceeded", StringComparison.Ordinal);

    /// <summary>
    /// containerd answers, and says that the shim behind it does not. An error that our own channel made, which has an exception
    /// in it, is about containerd: then nothing is known of any shim, and nothing may be concluded.
    /// </summary>
    public static bool IsDeadShim(RpcException error) =>
        error.Status.DebugException is null
        && (error.Status.Detail.Contains("ttrpc: closed", StringComparison.Ordinal)
            || error.Status.Detail.Contains("connection refused", StringComparison.Ordinal));

    public static DriverException TranslateMessage(string detail, Exception? inner = null)
    {
        if (IsDiskFull(detail))
        {
            return DriverException.OfFullDisk(inner);
        }

        if (detail.Contains("executable file not found", StringComparison.Ordinal)
            || (ExecFailure().IsMatch(detail) && detail.Contains("no such file or directory", StringComparison.Ordinal)))
        {
            return new("CommandNotFound", $"the command {QuotedCommand(detail)} is not in the image", permanent: true, inner);
        }

        if (ExecFailure().IsMatch(detail) && detail.Contains("permission denied", StringComparison.Ordinal))
        {
            return new("CommandNotExecutable", $"the command {QuotedCommand(detail)} is in the image but may not be executed", permanent: true, inner);
        }

        if (ExecFailure().IsMatch(detail) && detail.Contains("is a directory", StringComparison.Ordinal))
        {
            return new("CommandNotExecutable", $"the command {QuotedCommand(detail)} is a directory in the image", permanent: true, inner);
        }

        if (detail.Contains("exec format error", StringComparison.Ordinal))
        {
            return new("CommandNotExecutable", "the command is not a program for this node's architecture", permanent: true, inner);
        }

        if (WorkingDirectory().Match(detail) is { Success: true } directory)
        {
            return new("WorkingDirectoryInvalid", $"the working directory cannot be entered: {Shorten(directory.Value)}", permanent: true, inner);
        }

        if (detail.Contains("memory limit too low", StringComparison.Ordinal) || detail.Contains("OOM-killed", StringComparison.Ordinal))
        {
            return new(
                "MemoryLimitTooLow", "the memory limit is too low even to start the process; raise resources.memory_bytes", permanent: true, inner);
        }

        if (detail.Contains("read-only file system", StringComparison.Ordinal))
        {
            return new("ReadOnlyRoot", $"something has to be written, but the root is read-only: {Shorten(detail)}", permanent: true, inner);
        }

        if (detail.Contains("lstat /proc/", StringComparison.Ordinal) && detail.Contains("/ns/", StringComparison.Ordinal))
        {
            return new("NetworkNamespaceMissing", "the network namespace of the instance is gone", permanent: false, inner);
        }

        return new("RuntimeFailed", $"the runtime refused: {Shorten(detail)}", permanent: false, inner);
    }

    private static bool IsDiskFull(string detail) =>
        detail.Contains("no space left on device", StringComparison.Ordinal)
        || detail.Contains("disk quota exceeded", StringComparison.Ordinal);

    private static string QuotedCommand(string detail) =>
        ExecFailure().Match(detail) is { Success: true } match ? Shorten(match.Groups["command"].Value) : "asked for";

    /// <summary>The last, most specific part; without control characters, which have no business in logs and terminals.</summary>
    private static string Shorten(string detail)
    {
        var printable = string.Concat(detail.Select(c => char.IsControl(c) ? ' ' : c)).Trim();
        const int limit = ContainerdLimits.MessageCharacters;
        return printable.Length <= limit ? printable : "…" + printable[^limit..];
    }

    [GeneratedRegex("""exec: (?<command>"(?:[^"\\]|\\.)*")""", RegexOptions.CultureInvariant)]
    private static partial Regex ExecFailure();

    [GeneratedRegex("""(?:chdir to cwd|mkdir|current working directory).*""", RegexOptions.CultureInvariant | RegexOptions.Singleline)]
    private static partial Regex WorkingDirectory();
}
