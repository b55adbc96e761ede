using System.Security.Cryptography;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Server.Images;

/// <summary>
/// Protects: an import for which the server's disk has no room fails with a message that names the remedy, in its middle or before it begins, keeps
/// nothing, and works once there is room.
/// </summary>
public sealed class FullImageDiskTests : IAsyncLifetime
{
    private const int TooMuch = 48 << 20;

    private LocalCluster _cluster = null!;
    private CommandLine _ctl = null!;

    private string Images => $"{_cluster.Folder}/server/images";

    public async ValueTask InitializeAsync()
    {
        _cluster = await LocalCluster.StartAsync();
        _ctl = new CommandLine(_cluster);
        await _cluster.Server.StopAsync();

        // Taken away with the cluster's other mounts.
        await Shell.RunAsync("mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", Images);
        _cluster.Server.Start();
        await _cluster.NodeReadyAsync();
    }

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact(Timeout = 180_000)]
    public async Task An_import_without_room_is_refused_keeps_nothing_and_works_once_there_is_some()
    {
        var disk = $"{_cluster.Folder}/disk.raw";
        await File.WriteAllBytesAsync(disk, RandomNumberGenerator.GetBytes(TooMuch), TestContext.Current.CancellationToken);
        var archive = $"{_cluster.Folder}/large.tar";
        await File.WriteAllBytesAsync(
            archive,
            OciArchive.Of(OciArchive.Layer(tar => OciArchive.File(tar, "large", RandomNumberGenerator.GetBytes(TooMuch)))),
            TestContext.Current.CancellationToken);
        var free = Free();

        foreach (var import in (string[][])[[disk, "--name", "disk", "--format", "raw"], [archive, "--name", "large"]])
        {
            var (code, output, error) = await _ctl.TryRunAsync(["image", "import", .. import]);
            Assert.True(code == 1, output + error);
            Assert.Contains("disk is full; remove images or enlarge the file system of its data_dir", error, StringComparison.Ordinal);
            await RealTime.UntilAsync("nothing of it is kept", TimeSpan.FromSeconds(30), () => Free() == free);
        }

        var listed = await _cluster.Compute.ListImagesAsync(new ListImagesRequest(), deadline: LocalCluster.Deadline(10));
        Assert.Empty(listed.Images);

        await Shell.RunAsync("mount", "-o", "remount,size=128m", Images);
        await _ctl.RunAsync("image", "import", disk, "--name", "disk", "--format", "raw");
        await _cluster.ImportBusyboxAsync();
        await _cluster.RunAsync("box", "sleep", "3600");
        await _cluster.DeleteAsync("box");
    }

    private long Free() => new DriveInfo(Images).AvailableFreeSpace;
}
