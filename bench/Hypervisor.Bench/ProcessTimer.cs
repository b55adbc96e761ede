using System.Diagnostics;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>Times a program from exec to exit.</summary>
internal static class ProcessTimer
{
    /// <exception cref="InvalidOperationException">The exit code is not 0: a failing program is often a fast one.</exception>
    /// <param name="networkNamespace">Path of the one to run it in; null is our own.</param>
    public static async Task<double> MillisecondsAsync(string program, IReadOnlyList<string> arguments, string? networkNamespace = null)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        // The child inherits the namespace of the thread that forks it, so that no other program is in the measured time.
        var (process, started) = networkNamespace is null
            ? Start(start)
            : await Linux.OnOwnThreadAsync(networkNamespace, () => Start(start));
        using var owned = process;
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        var elapsed = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        return process.ExitCode == 0
            ? elapsed
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {await error}{await output}");
    }

    private static (Process Process, long Started) Start(ProcessStartInfo start)
    {
        var started = Stopwatch.GetTimestamp();
        return (Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start"), started);
    }
}
