using System.Diagnostics;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// The peer of a VM: <c>virsh create</c> of the very XML that libvirt has of one of ours, limits included, with copies of the same disks, at the
/// same libvirtd. Its tap exists already.
/// </summary>
internal sealed class BareVm : IBareGuests
{
    private const string Name = "like-vm";
    private const string Tap = "barevm";
    private const string Uid = "3c5a4bd0-6c6e-4d6b-9c51-0f2f6c8f7a01";

    private static readonly TimeSpan _boot = TimeSpan.FromSeconds(120);

    private readonly LocalCluster _cluster;
    private readonly string _uri;
    private readonly string _xml;
    private readonly string _kept;
    private readonly string _disks;
    private readonly string _sockets;

    private BareVm(LocalCluster cluster, string uri, string uid, string xml, string guestFolder, string kept)
    {
        (_cluster, _uri, _kept) = (cluster, uri, kept);
        (_disks, _sockets) = ($"{kept}-used", $"{cluster.RunFolder}/bv");
        var tap = xml.Split("<target dev='hv")[1].Split('\'')[0];
        _xml = xml
            .Replace(guestFolder, _disks, StringComparison.Ordinal)
            .Replace($"{cluster.RunFolder}/agent/v/{uid}", _sockets, StringComparison.Ordinal)
            .Replace($"'hv{tap}'", $"'{Tap}'", StringComparison.Ordinal)
            .Replace(uid, Uid, StringComparison.Ordinal);
    }

    /// <summary>Makes one VM through the API, notes what libvirt knows of it and keeps its disks as they were before its first start.</summary>
    public static async Task<BareVm> LikeAsync(LocalCluster cluster, BenchGuests guests, Resources size)
    {
        await guests.FirstLineAsync(InstanceType.Vm, Name, size);
        var uid = (await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(5))).Metadata.Uid;
        var uri = $"qemu:///system?socket={cluster.RunFolder}/libvirt/libvirt-sock";
        var xml = await Shell.RunAsync("virsh", "-c", uri, "dumpxml", "--inactive", uid);
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = Name }, deadline: LocalCluster.Deadline(10));
        await cluster.InstanceAsync(Name, "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null);

        var kept = Path.Combine(Directory.CreateDirectory($"{cluster.Folder}/bare-vm").FullName, "disks");
        var folder = guests.FolderOf(InstanceType.Vm, uid);
        await FreshDisks.KeepAsync(folder, kept);
        await guests.DeleteAsync(Name);
        return new BareVm(cluster, uri, uid, xml, folder, kept);
    }

    public async Task PrepareAsync(int count, long? millicores)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(count, 1);
        await Shell.RunAsync("cp", "-a", "--sparse=always", _kept, _disks);
        File.Delete(ConsoleLog);
        Directory.CreateDirectory(_sockets);
        await Shell.RunAsync("ip", "-n", _cluster.Id, "tuntap", "add", "dev", Tap, "mode", "tap");
        await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "set", Tap, "up");
        await File.WriteAllTextAsync(XmlFile, _xml);
    }

    public async Task<double> FirstLinesAsync()
    {
        var started = Stopwatch.GetTimestamp();
        await Shell.RunAsync("virsh", "-c", _uri, "create", XmlFile);
        await ConsoleFile.HasLineAsync(ConsoleLog, _boot);
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    public async Task EndAsync()
    {
        await Shell.RunAsync("virsh", "-c", _uri, "destroy", Uid);
        await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "delete", Tap);
        Directory.Delete(_disks, recursive: true);
        Directory.Delete(_sockets, recursive: true);
    }

    private string ConsoleLog => $"{_disks}/console.log";

    private string XmlFile => $"{_kept}.xml";
}
