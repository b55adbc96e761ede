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

    public LibvirtVmm NewVmm() => LibvirtServices.Create(new LibvirtOptions { Uri = $"qemu:///system?socket={Sockets}/libvirt-sock" }, RealTime.Clock);

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
