using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>A libvirtd of a test's own, as <c>make run</c> starts it.</summary>
internal sealed class LibvirtHost : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hvl-");

    public LibvirtHost() => Daemon = new RealProcess("libvirtd", $"{LocalCluster.Repository}/scripts/libvirtd.sh", [At("data"), Sockets], At("libvirtd.log"));

    public RealProcess Daemon { get; }

    private string Sockets => At("s");

    public string At(string name) => Path.Combine(_folder.FullName, name);

    public LibvirtOptions Options => new() { Uri = $"qemu:///system?socket={Sockets}/libvirt-sock", StateDirectory = At("state") };

    public LibvirtVmm NewVmm() => LibvirtServices.Create(Options, RealTime.Clock);

    /// <summary>What libvirtd and the driver keep of guests, anywhere.</summary>
    public IReadOnlyList<string> Kept(string uid) =>
        [.. new[] { At("data"), At("s"), At("state"), At("run") }.Where(Directory.Exists)
            .SelectMany(folder => Directory.EnumerateFileSystemEntries(folder, $"*{uid}*", SearchOption.AllDirectories))
            .Concat(Directory.EnumerateFileSystemEntries(At("run")))
            .Concat(Directory.GetDirectories("/sys/fs/cgroup", $"*{uid}*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, IgnoreInaccessible = true }))];

    public async Task StartAsync()
    {
        Daemon.Start();
        try
        {
            await RealTime.UntilAsync("libvirtd listens", TimeSpan.FromSeconds(30), () => Daemon.IsRunning && File.Exists($"{Sockets}/libvirt-sock"));
        }
        catch (TimeoutException late)
        {
            throw new TimeoutException($"{late.Message}: {Daemon.Log}", late);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Daemon.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}
