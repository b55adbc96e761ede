using System.Diagnostics;
using System.Text;

namespace Hypervisor.TestCluster;

/// <summary>The shipped command line on a cluster's machine, used as people use it.</summary>
internal sealed class CommandLine(LocalCluster cluster)
{
    private string[] Prefix => [$"--net={cluster.NetworkNamespace}", "--", $"{LocalCluster.Binaries}/hypervisor-ctl"];

    public Task<(int ExitCode, string Output, string Error)> TryRunAsync(params string[] words) =>
        Shell.TryRunAsync("nsenter", [.. Prefix, .. words], TimeSpan.FromSeconds(90));

    /// <exception cref="InvalidOperationException">The exit code is not 0.</exception>
    public async Task<string> RunAsync(params string[] words)
    {
        var (exitCode, output, error) = await TryRunAsync(words);
        return exitCode == 0
            ? output
            : throw new InvalidOperationException($"hypervisor-ctl {string.Join(' ', words)} ended with {exitCode}: {error}{output}");
    }

    /// <summary>One that goes on, such as a follower; it is killed when it is let go.</summary>
    public LiveCommand Start(params string[] words) => new("nsenter", [.. Prefix, .. words]);
}

/// <summary>A command that runs, and what it has written so far.</summary>
internal sealed class LiveCommand : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();
    private readonly Task _reading;
    private bool _disposed;

    public LiveCommand(string program, IEnumerable<string> arguments)
    {
        _process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        _reading = Task.WhenAll(ReadAsync(_process.StandardOutput, _output), ReadAsync(_process.StandardError, _error));
    }

    public string Output => Text(_output);

    public string Error => Text(_error);

    public bool HasEnded => _process.HasExited;

    public void Type(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    public async Task UntilAsync(string text, double seconds = 30)
    {
        try
        {
            await RealTime.UntilAsync($"the command writes '{text}'", TimeSpan.FromSeconds(seconds), () => Output.Contains(text, StringComparison.Ordinal));
        }
        catch (TimeoutException exception)
        {
            throw new TimeoutException($"{exception.Message}; it wrote: {Output}{Error}", exception);
        }
    }

    /// <exception cref="TimeoutException">It goes on.</exception>
    public async Task<int> EndAsync(double seconds = 30)
    {
        try
        {
            await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(seconds), RealTime.Clock);
        }
        catch (TimeoutException exception)
        {
            throw new TimeoutException($"the command did not end within {seconds} s; it wrote: {Output}{Error}", exception);
        }

        await _reading;
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private static string Text(StringBuilder text)
    {
        lock (text)
        {
            return text.ToString();
        }
    }

    private static async Task ReadAsync(StreamReader reader, StringBuilder text)
    {
        var buffer = new char[4096];
        int read;
        while ((read = await reader.ReadAsync(buffer)) > 0)
        {
            lock (text)
            {
                text.Append(buffer, 0, read);
            }
        }
    }
}
