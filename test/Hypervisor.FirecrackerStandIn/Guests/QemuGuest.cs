using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn.Guests;

/// <summary>The guest in a QEMU that dies with this process, however that ends.</summary>
internal sealed class QemuGuest(TimeProvider time) : IGuest
{
    private const int ControlPort = 1024;

    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(2);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _one = new(1, 1);
    private readonly string _channelName = $"firecracker-stand-in-{Environment.ProcessId}-channel";
    private readonly string _monitorName = $"firecracker-stand-in-{Environment.ProcessId}-monitor";
    private Process? _process;
    private Monitor? _monitor;
    private int _replacements;

    public Task Ended => _ended.Task;

    public async Task StartAsync(JsonObject configuration)
    {
        await LaunchAsync(configuration, incoming: null);
        await CallAsync("cont");
    }

    public async Task LoadAsync(JsonObject configuration, string memoryPath, long streamBytes)
    {
        await LaunchAsync(configuration, $"head -c {streamBytes} {Quote(memoryPath)}");
        var deadline = time.GetTimestamp();
        while ((string?)(await CallAsync("query-status"))!["status"] == "inmigrate")
        {
            await WaitAsync(deadline, "load the machine");
        }
    }

    public Task PauseAsync() => CallAsync("stop");

    public Task ResumeAsync() => CallAsync("cont");

    public async Task<long> SaveAsync(string memoryPath)
    {
        File.Delete(memoryPath);
        await CallAsync("migrate-set-parameters", new JsonObject { ["max-bandwidth"] = 10L << 30 });
        await CallAsync("migrate", new JsonObject { ["uri"] = $"exec:cat > {Quote(memoryPath)}" });
        var deadline = time.GetTimestamp();
        while ((string?)(await CallAsync("query-migrate"))!["status"] is not "completed" and var status)
        {
            if (status is "failed" or "cancelled")
            {
                throw new FaultException("QEMU could not save the machine");
            }

            await WaitAsync(deadline, "save the machine");
        }

        return new FileInfo(memoryPath).Length;
    }

    public Task PressCtrlAltDelAsync() => CallAsync("send-key", new JsonObject
    {
        ["keys"] = new JsonArray(((string[])["ctrl", "alt", "delete"]).Select(key => (JsonNode)new JsonObject { ["type"] = "qcode", ["data"] = key }).ToArray()),
    });

    public async Task ReplaceDriveAsync(string id, string path)
    {
        var nodes = (await CallAsync("query-named-block-nodes"))!.AsArray();
        var readOnly = (bool)nodes.First(node => (string?)node!["node-name"] == $"raw-{id}")!["ro"]!;
        var file = $"file-{id}-{++_replacements}";
        await CallAsync("blockdev-add", QemuArguments.FileNode(file, path, readOnly));
        await CallAsync("blockdev-reopen", new JsonObject { ["options"] = new JsonArray(QemuArguments.RawNode(id, file, readOnly)) });
    }

    /// <summary>QEMU's number is what the guest keeps, Firecracker's what it gives up.</summary>
    public Task SetBalloonAsync(long mebibytes, long memoryMebibytes) =>
        CallAsync("balloon", new JsonObject { ["value"] = (memoryMebibytes - mebibytes) << 20 });

    public async Task<Stream?> ConnectAsync(int port)
    {
        if (port != ControlPort || _monitor is null)
        {
            return null;
        }

        var devices = (await CallAsync("query-chardev"))!.AsArray();
        if ((bool?)devices.FirstOrDefault(device => (string?)device!["label"] == "control")?["frontend-open"] != true)
        {
            return null;
        }

        return await DialAsync(_channelName);
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is { HasExited: false } process)
        {
            process.Kill();
            await _ended.Task;
        }

        _one.Dispose();
    }

    private static string Quote(string path) => "'" + Path.GetFullPath(path).Replace("'", "'\\''", StringComparison.Ordinal) + "'";

    private async Task LaunchAsync(JsonObject configuration, string? incoming)
    {
        var start = new ProcessStartInfo("setpriv");
        foreach (var argument in (string[])["--pdeathsig", "KILL", "qemu-system-x86_64", .. new QemuArguments(configuration, _monitorName, _channelName, incoming).Render()])
        {
            start.ArgumentList.Add(argument);
        }

        // Its standard input and output are ours: the serial console. A thread of its own, until the end: the kernel sends that signal when the thread that started the process ends.
        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                var process = Process.Start(start)!;
                started.SetResult(process);
                process.WaitForExit();
                _ended.TrySetResult();
            }
            catch (Exception error)
            {
                started.TrySetException(error);
            }
        })
        { IsBackground = true, Name = "qemu" }.Start();
        _process = await started.Task;
        var monitor = new Monitor(await DialAsync(_monitorName));
        await monitor.OpenAsync();
        _monitor = monitor;
    }

    private async Task<Stream> DialAsync(string name)
    {
        var since = time.GetTimestamp();
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint("\0" + name));
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException)
            {
                // QEMU does not listen yet.
                socket.Dispose();
                await WaitAsync(since, "start");
            }
        }
    }

    private async Task<JsonNode?> CallAsync(string command, JsonObject? arguments = null)
    {
        await _one.WaitAsync();
        try
        {
            return await (_monitor ?? throw new FaultException("QEMU does not run")).CallAsync(command, arguments);
        }
        finally
        {
            _one.Release();
        }
    }

    private async Task WaitAsync(long since, string what)
    {
        if (time.GetElapsedTime(since) > Patience || _ended.Task.IsCompleted)
        {
            throw new FaultException($"QEMU did not {what}");
        }

        await Task.Delay(Poll, time);
    }
}
