using System.Diagnostics;
using System.Net.Sockets;
using Containerd.Services.Leases.V1;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Logs;
using Hypervisor.Hosting.Randomness;
using Hypervisor.TestCluster;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Hosting.Internal;
using Xunit;

// Tests wait for real processes.
#pragma warning disable RS0030

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>A containerd of its own, on scratch folders, with a driver beside it. Everything is gone after disposal.</summary>
public sealed class ContainerdHost : IAsyncLifetime
{
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly string _name = "hvt-" + Guid.NewGuid().ToString("n")[..8];
    private ServiceProvider _services = null!;
    private Process? _containerd;

    internal string Run => "/run/" + _name;

    internal string Root => Path.Combine(Path.GetTempPath(), _name);

    internal ContainerdOptions Options { get; private set; } = null!;

    internal BlobControlPlane ControlPlane { get; } = new();

    internal BusyboxImage Image { get; } = BusyboxImage.Make();

    internal IInstanceDriver Driver => _services.GetRequiredService<IInstanceDriver>();

    internal ContainerdClient Client => _services.GetRequiredService<ContainerdClient>();

    internal IImageProvider Images => _services.GetRequiredService<IImageProvider>();

    internal ImageStore Store => _services.GetRequiredService<ImageStore>();

    internal IInstanceAccess Access => Driver.Access!;

    internal Cgroups Cgroups => _services.GetRequiredService<Cgroups>();

    internal int ProcessId => _containerd!.Id;

    public async ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(Run);
        Directory.CreateDirectory(Root);
        Options = new ContainerdOptions
        {
            SocketPath = Run + "/c.sock",
            Namespace = _name,
            CgroupParent = "/" + _name,
            RunDirectory = Run + "/driver",
            StateDirectory = Run + "/state",
            RuncRoot = Run + "/runc",
            LogDirectory = Root + "/logs",
            Logs = new LogLimits(64 * 1024, 3),
        };
        File.WriteAllText(Root + "/config.toml", $"""
            version = 2
            root = "{Root}/root"
            state = "{Run}/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri"]
            [grpc]
              address = "{Options.SocketPath}"
            [plugins."io.containerd.internal.v1.opt"]
              path = "{Root}/opt"
            """);
        ControlPlane.Add(Image, "busybox");
        ForgetEverything();
        await StartContainerdAsync();
        await Images.EnsureAsync("default", "busybox", "", default, TestContext.Current.CancellationToken);
    }

    /// <summary>As when the agent is told to end: what it does then, it does knowing that.</summary>
    internal void EndAgent() => _services!.GetRequiredService<IHostApplicationLifetime>().StopApplication();

    internal async Task<IReadOnlyList<string>> LeasesAsync()
    {
        var client = _services!.GetRequiredService<ContainerdClient>();
        return [.. (await client.Leases.ListAsync(new ListRequest(), client.Call(CancellationToken.None))).Leases.Select(lease => lease.Id)];
    }

    /// <summary>Nothing without an owner is there afterwards.</summary>
    internal async Task CollectGarbageAsync()
    {
        var client = _services!.GetRequiredService<ContainerdClient>();
        await client.Leases.CreateAsync(new CreateRequest { Id = "collect" }, client.Call(CancellationToken.None));
        await client.Leases.DeleteAsync(new DeleteRequest { Id = "collect", Sync = true }, client.Call(CancellationToken.None));
    }

    /// <summary>As after a restart of the agent: nothing is remembered.</summary>
    internal void ForgetEverything(Func<ContainerdOptions, ContainerdOptions>? change = null)
    {
        _services?.Dispose();
        _services = new ServiceCollection()
            .AddLogging()
            .AddSingleton(TimeProvider.System)
            .AddSingleton<IRandomSource, SystemRandomSource>()
            .AddSingleton<IControlPlane>(ControlPlane)
            .AddSingleton<IHostApplicationLifetime, ApplicationLifetime>()
            .AddContainerd(change?.Invoke(Options) ?? Options)
            .AddImages(0)
            .BuildServiceProvider();
    }

    internal async Task StartContainerdAsync()
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"exec containerd --config {Root}/config.toml >>{Root}/log 2>&1"]);
        _containerd = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(Patience);
        while (!(await Driver.ProbeAsync(deadline.Token)).Available)
        {
            await Task.Delay(20, deadline.Token);
        }
    }

    internal async Task KillContainerdAsync()
    {
        _containerd!.Kill();
        await _containerd.WaitForExitAsync();
    }

    internal static async Task UntilAsync(Func<Task<bool>> condition, string what)
    {
        using var deadline = new CancellationTokenSource(Patience);
        while (!await condition())
        {
            Assert.False(deadline.IsCancellationRequested, "never happened: " + what);
            await Task.Delay(20);
        }
    }

    internal static void Signal(int pid, int signal) => NativeMethods.Kill(pid, signal);

    /// <summary>Stops a process for good: on a busy machine one of its threads may go on, and answer, for a while after the signal.</summary>
    internal static Task FreezeAsync(int pid)
    {
        Signal(pid, 19);
        return UntilAsync(() => Task.FromResult(Linux.IsStopped(pid)), "every thread is stopped");
    }

    /// <summary>Shims of this containerd, by their command line.</summary>
    internal IReadOnlyList<int> Shims() =>
        [.. Directory.EnumerateDirectories("/proc")
            .Select(path => int.TryParse(Path.GetFileName(path), out var pid) ? pid : 0)
            .Where(pid => pid > 0 && CommandLine(pid).Contains("-namespace\0" + _name + "\0", StringComparison.Ordinal))];

    /// <summary>A shim as containerd starts it for a container, with nothing in it and nobody who knows of it.</summary>
    internal async Task<int> StartIdleShimAsync(string id)
    {
        // What it reads of a bundle is the group; without a log it would end at once.
        var bundle = Directory.CreateDirectory($"{Run}/bundle-of-nobody").FullName;
        await File.WriteAllTextAsync($"{bundle}/config.json", "{}");
        await File.WriteAllTextAsync($"{bundle}/log", "");
        var before = Shims();
        var start = new ProcessStartInfo(
            "containerd-shim-runc-v2", ["-namespace", _name, "-address", Options.SocketPath, "-publish-binary", "/bin/true", "-id", id, "start"])
        {
            WorkingDirectory = bundle,
            RedirectStandardOutput = true,
        };
        start.Environment["TTRPC_ADDRESS"] = Options.SocketPath + ".ttrpc";
        using var process = Process.Start(start)!;
        await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.Equal(0, process.ExitCode);
        return Assert.Single(Shims().Except(before));
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (_containerd!.HasExited)
            {
                await StartContainerdAsync();
            }

            foreach (var instance in await Driver.ListAsync(CancellationToken.None))
            {
                await Driver.RemoveAsync(instance.Id, new(long.MaxValue), CancellationToken.None);
            }
        }
        finally
        {
            _services.Dispose();
            await KillContainerdAsync();
            foreach (var shim in Shims())
            {
                Signal(shim, 9);
            }

            foreach (var cgroup in Directory.EnumerateDirectories("/sys/fs/cgroup").Select(path => path + "/" + _name).Where(Directory.Exists))
            {
                NativeMethods.Rmdir(cgroup);
            }

            foreach (var target in Mounts().OrderByDescending(path => path.Length))
            {
                NativeMethods.Umount(target, NativeMethods.MntDetach);
            }

            RemoveDeadSockets();
            RemoveRuncState();
            Directory.Delete(Run, recursive: true);
            Directory.Delete(Root, recursive: true);
        }
    }

    internal IEnumerable<string> Mounts() =>
        File.ReadAllLines("/proc/self/mountinfo").Select(line => line.Split(' ')[4]).Where(path => path.Contains(_name, StringComparison.Ordinal));

    /// <summary>A shim that was killed leaves its socket in a directory that all containerds of a machine share.</summary>
    private static void RemoveDeadSockets()
    {
        foreach (var path in Directory.EnumerateFiles("/run/containerd/s"))
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(path));
            }
            catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionRefused)
            {
                File.Delete(path);
            }
        }
    }

    /// <summary>runc keeps a folder per containerd namespace in a place that all containerds share, and never removes it.</summary>
    private void RemoveRuncState()
    {
        var state = Path.Combine("/run/containerd/runc", _name);
        if (Directory.Exists(state))
        {
            Directory.Delete(state, recursive: true);
        }
    }

    private static string CommandLine(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            return "";
        }
    }
}
