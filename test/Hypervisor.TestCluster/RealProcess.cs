using System.Diagnostics;

namespace Hypervisor.TestCluster;

/// <summary>A program of the cluster under test: started, signalled by its own id, and ended in any case.</summary>
internal sealed class RealProcess(string name, string program, IReadOnlyList<string> arguments, string logFile) : IAsyncDisposable
{
    private static readonly TimeSpan EndTimeout = TimeSpan.FromSeconds(15);

    private Process? _process;

    public string Name => name;

    public int Id => _process?.Id ?? throw new InvalidOperationException($"{name} is not running");

    public bool IsRunning => _process is { HasExited: false };

    public string Log => File.Exists(logFile) ? File.ReadAllText(logFile) : "";

    public void Start()
    {
        if (IsRunning)
        {
            throw new InvalidOperationException($"{name} runs already");
        }

        // The shell only redirects: exec makes the program itself the child.
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardInput = true };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("exec \"$@\" >> \"$LOG\" 2>&1 < /dev/null");
        start.ArgumentList.Add("sh");
        start.ArgumentList.Add(program);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["LOG"] = logFile;
        _process?.Dispose();
        _process = Process.Start(start) ?? throw new InvalidOperationException($"{name} did not start");
    }

    public void Signal(int signal) => Linux.Signal(Id, signal);

    /// <summary>SIGKILL, and waits until it is gone.</summary>
    public async Task KillAsync()
    {
        if (_process is { HasExited: false } process)
        {
            Linux.Signal(process.Id, Linux.SignalKill);
            await EndedAsync(process);
        }
    }

    /// <summary>SIGTERM; fails when the program does not end by itself.</summary>
    public async Task StopAsync()
    {
        if (_process is { HasExited: false } process)
        {
            Linux.Signal(process.Id, Linux.SignalTerminate);
            await EndedAsync(process);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        _process?.Dispose();
    }

    private async Task EndedAsync(Process process)
    {
        using var deadline = new CancellationTokenSource(EndTimeout, RealTime.Clock);
        try
        {
            await process.WaitForExitAsync(deadline.Token);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"{name} (pid {process.Id}) did not end within {EndTimeout.TotalSeconds} s");
        }
    }
}
