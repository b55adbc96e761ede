using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>A program that makes or changes files of disks, and what it may use.</summary>
/// <param name="Package">Debian's, for whoever lacks it.</param>
internal sealed record ToolCall(string Program, string Package, IReadOnlyList<string> Arguments)
{
    public required long MemoryBytes { get; init; }

    /// <summary>Whole seconds.</summary>
    public required TimeSpan Cpu { get; init; }

    public required TimeSpan Deadline { get; init; }

    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();
}

/// <param name="ExitCode">As the shell shows it: 128 + signal.</param>
internal sealed record ToolResult(int ExitCode, string Output, string Error)
{
    /// <summary>As the C library says it; tools run in its own language.</summary>
    public bool IsFullDisk =>
        Error.Contains("No space left on device", StringComparison.Ordinal) || Error.Contains("Disk quota exceeded", StringComparison.Ordinal);

    /// <summary>The last line of what it complained of, in a form that fits a sentence.</summary>
    public string Complaint => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [.., var last]
        ? last
        : $"it ended with {ExitCode} and said nothing";
}

/// <summary>
/// Runs tools: the arguments are what they are, no shell reads them; limits are the kernel's (prlimit(1) sets them and becomes the
/// tool); the environment holds nothing of the agent's.
/// </summary>
internal sealed class DiskTool(TimeProvider time)
{
    private const string SearchPath = "/usr/sbin:/usr/bin:/sbin:/bin";
    private const int NotFound = 127;

    /// <exception cref="DriverException">ToolMissing, ToolTimedOut.</exception>
    public async Task<ToolResult> RunAsync(ToolCall call, CancellationToken cancellationToken)
    {
        using var process = Start(call);
        var output = ReadAsync(process.StandardOutput.BaseStream);
        var error = ReadAsync(process.StandardError.BaseStream);
        using var deadline = new CancellationTokenSource(call.Deadline, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await process.WaitForExitAsync(either.Token);
        }
        catch (OperationCanceledException)
        {
            // What it writes to is the caller's to remove: not before it has ended.
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            cancellationToken.ThrowIfCancellationRequested();
            throw new DriverException(
                "ToolTimedOut", $"{call.Program} had not ended after {call.Deadline.TotalSeconds:0} s; the node's disk may be slow or stuck", permanent: false);
        }

        var result = new ToolResult(process.ExitCode, await output, await error);
        return result.ExitCode == NotFound && result.Error.StartsWith("prlimit: ", StringComparison.Ordinal) ? throw Missing(call) : result;
    }

    private static Process Start(ToolCall call)
    {
        var start = new ProcessStartInfo("/usr/bin/prlimit")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = "/",
        };
        var seconds = (long)call.Cpu.TotalSeconds;
        foreach (var argument in (IEnumerable<string>)
        [
            string.Create(CultureInfo.InvariantCulture, $"--as={call.MemoryBytes}"),
            string.Create(CultureInfo.InvariantCulture, $"--cpu={seconds}:{seconds + 1}"),
            "--core=0",
            "--",
            call.Program,
            .. call.Arguments,
        ])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment.Clear();
        start.Environment["PATH"] = SearchPath;
        start.Environment["LC_ALL"] = "C";
        foreach (var (name, value) in call.Environment)
        {
            start.Environment[name] = value;
        }

        try
        {
            var process = Process.Start(start) ?? throw new Win32Exception();
            process.StandardInput.Close();
            return process;
        }
        catch (Win32Exception error)
        {
            throw new DriverException("ToolMissing", $"prlimit cannot be run ({error.Message}): install Debian's package util-linux", permanent: false, error);
        }
    }

    private static DriverException Missing(ToolCall call) =>
        new("ToolMissing", $"{call.Program} is not on this node: install Debian's package {call.Package}", permanent: false);

    /// <summary>The end of what is written; the rest is read too, so that nothing waits for its reader.</summary>
    private static async Task<string> ReadAsync(Stream stream)
    {
        using var kept = new MemoryStream();
        var buffer = new byte[4096];
        for (int count; (count = await stream.ReadAsync(buffer)) > 0;)
        {
            if (kept.Length + count > DiskLimits.ToolOutputBytes)
            {
                kept.SetLength(0);
            }

            kept.Write(buffer, 0, count);
        }

        return Encoding.UTF8.GetString(kept.GetBuffer(), 0, (int)kept.Length);
    }
}
