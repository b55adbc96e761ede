using System.Text.Json;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.ClusterTests.Guests.Disks;

/// <summary>
/// Protects: overlays, snapshots and copies hold what was written when they were taken, formats are never guessed (a canary is never
/// returned), and a full disk loses nothing. By the real qemu-img and qemu-io, without a guest.
/// </summary>
public sealed class QemuDisksTests : IDisposable
{
    private const string Digest = "sha256:00";

    private readonly string _scratch = Directory.CreateTempSubdirectory("disks-").FullName;
    private readonly InstanceDisks _disks;
    private readonly DiskSnapshots _snapshots;
    private readonly GuestImage _image;

    public QemuDisksTests()
    {
        var qemuImg = new QemuImg(new DiskTool(RealTime.Clock));
        _snapshots = new DiskSnapshots(qemuImg);
        _disks = new InstanceDisks(qemuImg, _snapshots, NullLogger<InstanceDisks>.Instance);
        _image = new GuestImage(Digest, Path.Combine(_scratch, "image.raw"), DiskFormat.Raw, 4 << 20, Process: null) { Build = "b1" };
        File.WriteAllBytes(_image.Path, [.. Enumerable.Repeat((byte)0x11, 4 << 20)]);
        Directory.CreateDirectory(Guest);
    }

    private string Guest => Path.Combine(_scratch, "guest");

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_scratch, recursive: true);

    [Fact(Timeout = 60_000)]
    public async Task A_root_disk_is_an_overlay_with_both_formats_named_and_grows()
    {
        var disks = await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }, new Disk { Name = "data", SizeBytes = 1 << 20 });

        Assert.Equal([("root", DiskFormat.Qcow2), ("data", DiskFormat.Qcow2)], disks.Select(disk => (disk.Name, disk.Format)));
        var info = await InfoAsync(disks[0].Path);
        Assert.Equal(8 << 20, info.GetProperty("virtual-size").GetInt64());
        Assert.Equal(_image.Path, info.GetProperty("backing-filename").GetString());
        Assert.Equal("raw", info.GetProperty("backing-filename-format").GetString());
        Assert.False((await InfoAsync(disks[1].Path)).TryGetProperty("backing-filename", out _));
        await WriteAsync(disks[0].Path, 0x22);

        disks = await EnsureAsync(new Disk { Name = "root", SizeBytes = 16 << 20 }, new Disk { Name = "data", SizeBytes = 1 << 20 });

        Assert.Equal(16 << 20, (await InfoAsync(disks[0].Path)).GetProperty("virtual-size").GetInt64());
        await HoldsAsync(disks[0].Path, 0x22);
        await HoldsAsync(disks[0].Path, 0x11, at: "1M");
        Assert.Equal([Digest], InstanceDisks.Held([Guest]));
        InstanceDisks.Remove(Guest);
        Assert.Empty(Directory.GetFileSystemEntries(Guest));
    }

    /// <summary>qemu-img makes the first one of a size; the others are copies of it, whatever was written to it since.</summary>
    [Fact(Timeout = 60_000)]
    public async Task Empty_overlays_of_one_size_are_the_same_and_of_another_size_another()
    {
        var first = (await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        var empty = await File.ReadAllBytesAsync(first.Path, Cancel);
        await WriteAsync(first.Path, 0x22);
        foreach (var (name, size) in new[] { ("second", 8 << 20), ("third", 16 << 20) })
        {
            var folder = Directory.CreateDirectory(Path.Combine(_scratch, name)).FullName;
            var disk = (await EnsureAsync(folder, new Disk { Name = "root", SizeBytes = size }))[0];
            var content = await File.ReadAllBytesAsync(disk.Path, Cancel);
            Assert.Equal(size == 8 << 20, content.AsSpan().SequenceEqual(empty));
            Assert.Equal(size, (await InfoAsync(disk.Path)).GetProperty("virtual-size").GetInt64());
            Assert.Equal(_image.Path, (await InfoAsync(disk.Path)).GetProperty("backing-filename").GetString());
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(disk.Path));
            await HoldsAsync(disk.Path, 0x11);
            await WriteAsync(disk.Path, 0x33);
            await HoldsAsync(disk.Path, 0x33);
        }

        await HoldsAsync(first.Path, 0x22);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_guest_that_writes_a_header_into_its_raw_disk_reads_no_file_of_the_host()
    {
        var canary = Path.Combine(_scratch, "canary");
        await File.WriteAllBytesAsync(canary, [.. Enumerable.Repeat((byte)0x77, 1 << 20)], Cancel);
        await Shell.RunAsync("qemu-img", "create", "-q", "-f", "qcow2", "-b", canary, "-F", "raw", Path.Combine(_scratch, "evil"), "1M");
        var evil = await File.ReadAllBytesAsync(Path.Combine(_scratch, "evil"), Cancel);
        // The image, and a raw disk of an instance.
        await using (var image = File.OpenWrite(_image.Path))
        {
            await image.WriteAsync(evil, Cancel);
        }

        var disks = await EnsureAsync(new Disk { Name = "root" });
        await _snapshots.CreateAsync(Guest, "s1", Cancel);
        var copy = Path.Combine(_scratch, "copy");
        Directory.CreateDirectory(copy);
        await _snapshots.CloneAsync(Guest, "s1", copy, Cancel);

        disks = [.. disks, .. await EnsureAsync(copy, new Disk { Name = "root" })];
        foreach (var disk in disks)
        {
            Assert.Equal(4 << 20, (await InfoAsync(disk.Path)).GetProperty("virtual-size").GetInt64());
            var read = Path.Combine(_scratch, "read");
            await Shell.RunAsync("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk.Path, read);
            var content = await File.ReadAllBytesAsync(read, Cancel);
            Assert.Equal(evil, content[..evil.Length]);
            Assert.DoesNotContain((byte)0x77, content[evil.Length..]);
        }
    }

    [Fact(Timeout = 120_000)]
    public async Task Snapshots_hold_what_was_written_before_them_whatever_is_restored_and_deleted()
    {
        var root = (await EnsureAsync(new Disk { Name = "root" }))[0];
        await WriteAsync(root.Path, 0xA1);
        await _snapshots.CreateAsync(Guest, "s1", Cancel);
        root = (await EnsureAsync(new Disk { Name = "root" }))[0];
        await WriteAsync(root.Path, 0xA2);
        await WriteAsync(root.Path, 0xB2, at: "2M");
        await _snapshots.CreateAsync(Guest, "s2", Cancel);
        root = (await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        await WriteAsync(root.Path, 0xA3);

        await _snapshots.RestoreAsync(Guest, "s1", Cancel);
        root = (await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        await HoldsAsync(root.Path, 0xA1);
        await HoldsAsync(root.Path, 0x11, at: "2M");
        Assert.Equal(8 << 20, (await InfoAsync(root.Path)).GetProperty("virtual-size").GetInt64());

        await _snapshots.RestoreAsync(Guest, "s2", Cancel);
        DiskSnapshots.Delete(Guest, "s1");
        Assert.Equal(["s2"], DiskSnapshots.List(Guest).Keys);
        root = (await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        await HoldsAsync(root.Path, 0xA2);
        await HoldsAsync(root.Path, 0xB2, at: "2M");
        await HoldsAsync(root.Path, 0x11, at: "1M");
        await WriteAsync(root.Path, 0xA4);

        DiskSnapshots.Delete(Guest, "s2");
        root = (await EnsureAsync(new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        await HoldsAsync(root.Path, 0xA4);
        await HoldsAsync(root.Path, 0xB2, at: "2M");
        await HoldsAsync(root.Path, 0x11, at: "1M");
        Assert.Equal([root.Path], Directory.GetFiles(DiskFolder.Disks(Guest)));
        Assert.Equal(_image.Path, (await InfoAsync(root.Path)).GetProperty("backing-filename").GetString());
    }

    [Theory(Timeout = 60_000)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task After_a_kill_in_the_middle_of_a_running_snapshot_no_write_is_lost(bool moved)
    {
        var root = (await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }))[0];
        await WriteAsync(root.Path, 0xA1);
        var step = Assert.Single(await _snapshots.PrepareAsync(Guest, "s1", Cancel));
        // What the machine writes from here on goes to either, and the agent has not learned to which.
        await WriteAsync(moved ? step.Overlay : step.Active, 0xA2);

        Assert.Equal("SnapshotPending", (await Assert.ThrowsAsync<DriverException>(() => _snapshots.PrepareAsync(Guest, "s2", Cancel))).Reason);
        root = (await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }))[0];

        await HoldsAsync(root.Path, 0xA2);
        Assert.Empty(DiskSnapshots.List(Guest));
        Assert.Single(Directory.GetFiles(DiskFolder.Disks(Guest)));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_running_snapshot_is_committed_or_abandoned()
    {
        await EnsureAsync(new Disk { Name = "root" });
        var step = Assert.Single(await _snapshots.PrepareAsync(Guest, "s1", Cancel));
        DiskSnapshots.Abandon(Guest, "s1");
        Assert.Equal([step.Active], Directory.GetFiles(DiskFolder.Disks(Guest)));

        await WriteAsync(step.Active, 0xA1);
        step = Assert.Single(await _snapshots.PrepareAsync(Guest, "s2", Cancel));
        DiskSnapshots.Commit(Guest, "s2");
        await WriteAsync(step.Overlay, 0xA2);

        Assert.Equal(["s2"], DiskSnapshots.List(Guest).Keys);
        await _snapshots.RestoreAsync(Guest, "s2", Cancel);
        await HoldsAsync((await EnsureAsync(new Disk { Name = "root" }))[0].Path, 0xA1);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(null)]
    [InlineData("s1")]
    [InlineData("s2")]
    public async Task A_copy_depends_on_nothing_of_its_source(string? snapshot)
    {
        var root = (await EnsureAsync(new Disk { Name = "root" }))[0];
        await WriteAsync(root.Path, 0xA1);
        if (snapshot is not null)
        {
            await _snapshots.CreateAsync(Guest, "s1", Cancel);
            await WriteAsync((await EnsureAsync(new Disk { Name = "root" }))[0].Path, 0xB1, at: "1M");
            await _snapshots.CreateAsync(Guest, "s2", Cancel);
        }

        var copy = Path.Combine(_scratch, "copy");
        Directory.CreateDirectory(copy);
        await _snapshots.CloneAsync(Guest, snapshot, copy, Cancel);
        await _snapshots.CloneAsync(Guest, snapshot, copy, Cancel);
        Directory.Delete(Guest, recursive: true);

        root = (await EnsureAsync(copy, new Disk { Name = "root", SizeBytes = 8 << 20 }))[0];
        await HoldsAsync(root.Path, 0xA1);
        await HoldsAsync(root.Path, snapshot == "s2" ? (byte)0xB1 : (byte)0x11, at: "1M");
        await HoldsAsync(root.Path, 0x11, at: "3M");
    }

    [Fact(Timeout = 60_000)]
    public async Task A_local_disk_over_an_image_that_was_made_anew_is_not_started()
    {
        await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local });

        var lost = await Assert.ThrowsAsync<DriverException>(() => _disks.EnsureAsync(
            Guest, Spec(new Disk { Name = "root", Kind = DiskKind.Local }), _image with { Build = "b2" }, VmmAbilities.Qcow2, Cancel));

        Assert.Equal(InstanceDisks.Lost, lost.Reason);
    }

    [Fact(Timeout = 60_000)]
    public async Task Qcow2_images_become_raw_disks_for_those_who_need_them()
    {
        var qcow2 = Path.Combine(_scratch, "image.qcow2");
        await Shell.RunAsync("qemu-img", "convert", "-f", "raw", "-O", "qcow2", _image.Path, qcow2);

        var root = Assert.Single(await _disks.EnsureAsync(
            Guest, Spec(new Disk { Name = "root", SizeBytes = 6 << 20 }), _image with { Path = qcow2, Format = DiskFormat.Qcow2 }, VmmAbilities.None, Cancel));

        Assert.Equal((DiskFormat.Raw, 6 << 20), (root.Format, new FileInfo(root.Path).Length));
        Assert.Equal(0x11, (await File.ReadAllBytesAsync(root.Path, Cancel))[^(3 << 20)]);
        Assert.Empty(InstanceDisks.Held([Guest]));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_full_disk_is_said_to_be_full_and_the_disks_stay_as_they_are()
    {
        await Shell.RunAsync("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", Guest);
        try
        {
            var root = (await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }))[0];
            await WriteAsync(root.Path, 0xA1);
            await using (var ballast = File.Create(Path.Combine(Guest, "ballast")))
            {
                try
                {
                    await ballast.WriteAsync(new byte[4 << 20], Cancel);
                }
                catch (IOException)
                {
                    // As it should be.
                }
            }

            var full = await Assert.ThrowsAsync<DriverException>(() => _snapshots.CreateAsync(Guest, "s1", Cancel));

            Assert.Equal(DriverException.DiskFull, full.Reason);
            Assert.Equal([root.Path], Directory.GetFiles(DiskFolder.Disks(Guest)));
            File.Delete(Path.Combine(Guest, "ballast"));
            await _snapshots.CreateAsync(Guest, "s1", Cancel);
            await HoldsAsync((await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }))[0].Path, 0xA1);
        }
        finally
        {
            await Shell.RunAsync("umount", Guest);
        }
    }

    private Task<IReadOnlyList<GuestDisk>> EnsureAsync(params Disk[] disks) => EnsureAsync(Guest, disks);

    private Task<IReadOnlyList<GuestDisk>> EnsureAsync(string folder, params Disk[] disks) =>
        _disks.EnsureAsync(folder, Spec(disks), _image, VmmAbilities.Qcow2, Cancel);

    private static InstanceSpec Spec(params Disk[] disks) => new() { Type = InstanceType.Vm, Disks = { disks } };

    private static async Task<JsonElement> InfoAsync(string path) =>
        JsonDocument.Parse(await Shell.RunAsync("qemu-img", "info", "-f", "qcow2", "--output=json", path)).RootElement;

    private static Task<string> WriteAsync(string path, byte pattern, string at = "0") =>
        Shell.RunAsync("qemu-io", "-f", "qcow2", "-c", $"write -P {pattern} {at} 64k", path);

    private static async Task HoldsAsync(string path, byte pattern, string at = "0") =>
        Assert.DoesNotContain("failed", await Shell.RunAsync("qemu-io", "-r", "-f", "qcow2", "-c", $"read -P {pattern} {at} 64k", path), StringComparison.Ordinal);
}
