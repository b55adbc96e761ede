using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Disks;

/// <summary>
/// Protects: a disk that was made is never replaced by a fresh one while it is precious, and one that was never made is. Raw disks, which
/// need no program.
/// </summary>
public sealed class RawDisksTests : IDisposable
{
    private const string Digest = "sha256:00";

    private readonly ScratchFolder _scratch = new();
    private readonly InstanceDisks _disks;
    private readonly DiskSnapshots _snapshots;
    private readonly GuestImage _image;

    public RawDisksTests()
    {
        var qemuImg = new QemuImg(new DiskTool(RealClock.Instance));
        _snapshots = new DiskSnapshots(qemuImg);
        _disks = new InstanceDisks(qemuImg, _snapshots, NullLogger<InstanceDisks>.Instance);
        _image = new GuestImage(Digest, _scratch["image"], DiskFormat.Raw, 1 << 20, Process: null);
        Directory.CreateDirectory(_scratch["guest"]);
        using var image = File.Create(_image.Path);
        image.SetLength(1 << 20);
        image.Position = 600_000;
        image.Write("image"u8);
    }

    private string Guest => _scratch["guest"];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task A_root_disk_is_a_copy_of_its_image_grown_to_the_size_asked_for()
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root", SizeBytes = 3 << 20 }));

        Assert.Equal(("root", DiskFormat.Raw, 3L << 20), (root.Name, root.Format, new FileInfo(root.Path).Length));
        Assert.Equal("image", Read(root.Path, 600_000));
        Assert.True(DiskFiles.Allocated(root.Path) < 1 << 20, "its holes are no longer holes");
        Assert.Equal(DiskFiles.OwnerOnly, File.GetUnixFileMode(root.Path));
    }

    [Fact]
    public async Task What_was_written_stays_when_disks_are_ensured_again_and_grown()
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root" }));
        Write(root.Path, 10, "mine");

        var again = await EnsureAsync(new Disk { Name = "root", SizeBytes = 2 << 20 }, new Disk { Name = "more", SizeBytes = 8192 });

        Assert.Equal(["root", "more"], again.Select(disk => disk.Name));
        Assert.Equal("mine", Read(again[0].Path, 10));
        Assert.Equal(2 << 20, new FileInfo(again[0].Path).Length);
        Assert.Equal(8192, new FileInfo(again[1].Path).Length);
        var smaller = await Assert.ThrowsAsync<DriverException>(() => EnsureAsync(new Disk { Name = "root", SizeBytes = 1 << 20 }));
        Assert.Contains("disks only grow", smaller.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_local_disk_that_is_missing_is_never_made_anew()
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));
        File.Delete(root.Path);

        var lost = await Assert.ThrowsAsync<DriverException>(() => EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));
        Assert.Equal((InstanceDisks.Lost, true), (lost.Reason, lost.Permanent));
        // Nor by calling it something else.
        Assert.Equal(InstanceDisks.Lost, (await Assert.ThrowsAsync<DriverException>(() => EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Ephemeral }))).Reason);
        Assert.False(File.Exists(root.Path));
    }

    [Fact]
    public async Task An_ephemeral_disk_that_is_missing_is_made_anew()
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Ephemeral }));
        File.Delete(root.Path);

        root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Ephemeral }));

        Assert.Equal("image", Read(root.Path, 600_000));
    }

    [Fact]
    public async Task A_disk_whose_making_was_broken_off_is_made_again()
    {
        File.Move(_image.Path, _image.Path + "-away");
        await Assert.ThrowsAnyAsync<IOException>(() => EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));
        File.Move(_image.Path + "-away", _image.Path);
        Write(Path.Combine(Guest, "disks", "root-1.raw"), 0, "half of it");

        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));

        Assert.Equal("image", Read(root.Path, 600_000));
        Assert.Equal("\0\0\0\0", Read(root.Path, 0)[..4]);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("{\"disks\":null}")]
    [InlineData("{\"disks\":[{\"name\":\"root\",\"kind\":\"Local\",\"format\":\"Raw\",\"size_bytes\":1,\"made\":true,\"active\":\"x\",\"next\":1,\"layers\":[{\"file\":\"../x\",\"below\":null,\"snapshot\":null}],\"origin\":null}]}")]
    public async Task Disks_that_no_record_tells_of_are_left_alone(string? record)
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root" }));
        File.Delete(Path.Combine(Guest, "disks.json"));
        if (record is not null)
        {
            await File.WriteAllTextAsync(Path.Combine(Guest, "disks.json"), record, Cancel);
        }

        Assert.Equal("DiskRecordLost", (await Assert.ThrowsAsync<DriverException>(() => EnsureAsync(new Disk { Name = "root" }))).Reason);
        Assert.Throws<DriverException>(() => InstanceDisks.Held([Guest]));
        Assert.True(File.Exists(root.Path));
    }

    [Fact]
    public async Task A_snapshot_of_a_raw_disk_is_gone_back_to()
    {
        var root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));
        Write(root.Path, 0, "first");
        await _snapshots.CreateAsync(Guest, "s1", Cancel);
        await _snapshots.CreateAsync(Guest, "s1", Cancel);
        Write(root.Path, 0, "second");

        await _snapshots.RestoreAsync(Guest, "s1", Cancel);

        root = Assert.Single(await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }));
        Assert.Equal("first", Read(root.Path, 0)[..5]);
        Assert.Equal(2, Directory.GetFiles(DiskFolder.Disks(Guest)).Length);
        Assert.Equal(["s1"], DiskSnapshots.List(Guest).Keys);
        DiskSnapshots.Delete(Guest, "s1");
        Assert.Equal([root.Path], Directory.GetFiles(DiskFolder.Disks(Guest)));
        Assert.Equal("SnapshotNotFound", (await Assert.ThrowsAsync<DriverException>(() => _snapshots.RestoreAsync(Guest, "s1", Cancel))).Reason);
    }

    [Fact]
    public async Task Local_disks_without_an_instance_wait_in_quarantine_until_they_are_deleted()
    {
        var disks = await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Local }, new Disk { Name = "scratch", SizeBytes = 4096, Kind = DiskKind.Ephemeral });
        Write(disks[0].Path, 0, "precious");
        var quarantine = new DiskQuarantine(_scratch["quarantine"], RealClock.Instance);

        quarantine.Take(Guest, new InstanceId("u1"), new Epoch(7), "web", "default");
        quarantine.Take(Guest, new InstanceId("u1"), new Epoch(7), "web", "default");

        var (kept, bytes) = Assert.Single(quarantine.List());
        Assert.Equal(("u1-7", "web"), (kept.Key, kept.Name));
        Assert.True(bytes > 0);
        Assert.Empty(Directory.GetFileSystemEntries(Guest));
        var file = Assert.Single(Directory.GetFiles(Path.Combine(_scratch["quarantine"], "u1-7", "disks")));
        Assert.Equal("precious", Read(file, 0));
        Assert.False(quarantine.Delete("../guest"));
        Assert.True(quarantine.Delete("u1-7"));
        Assert.Empty(quarantine.List());
    }

    [Fact]
    public async Task Nothing_ephemeral_goes_to_quarantine()
    {
        await EnsureAsync(new Disk { Name = "root", Kind = DiskKind.Ephemeral });
        var quarantine = new DiskQuarantine(_scratch["quarantine"], RealClock.Instance);

        quarantine.Take(Guest, new InstanceId("u1"), new Epoch(7), "web", "default");

        Assert.Empty(quarantine.List());
        Assert.Empty(Directory.GetFileSystemEntries(Guest));
    }

    private Task<IReadOnlyList<GuestDisk>> EnsureAsync(params Disk[] disks) =>
        _disks.EnsureAsync(Guest, new InstanceSpec { Type = InstanceType.Microvm, Disks = { disks } }, _image, VmmAbilities.None, Cancel);

    private static void Write(string path, long position, string text)
    {
        using var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write);
        file.Position = position;
        file.Write(System.Text.Encoding.UTF8.GetBytes(text));
    }

    /// <summary>Eight bytes, without zeros at their end.</summary>
    private static string Read(string path, long position)
    {
        using var file = File.OpenRead(path);
        file.Position = position;
        var buffer = new byte[8];
        file.ReadExactly(buffer);
        var text = System.Text.Encoding.UTF8.GetString(buffer);
        return text.TrimEnd('\0') is { Length: > 0 } shown ? shown : text;
    }
}
