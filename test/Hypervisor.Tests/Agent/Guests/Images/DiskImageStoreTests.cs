using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Images;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Images;

/// <summary>Protects: a guest boots exactly what the control plane verified, fetched once, whatever breaks meanwhile; what is held stays.</summary>
public sealed class DiskImageStoreTests : IDisposable
{
    private readonly ScratchFolder _folder = new();
    private readonly DiskBlobs _blobs = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_disk_image_is_fetched_once_for_all_who_wait()
    {
        var (digest, disk) = _blobs.AddDisk("qcow2", Content(3 << 20));
        var store = Store();
        Assert.Null(await store.FindAsync(digest, Cancel));

        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => store.EnsureAsync(digest, Cancel)));

        var image = (await store.FindAsync(digest, Cancel))!;
        Assert.Equal((DiskFormat.Qcow2, 1L << 30, "debian", null), (image.Format, image.VirtualSizeBytes, image.DefaultUser, image.Kernel));
        Assert.Equal(disk, await File.ReadAllBytesAsync(image.Path, Cancel));
        Assert.All(_blobs.Fetches.GroupBy(fetch => fetch.Digest), group => Assert.Single(group));
        Assert.Equal(image, await Store().FindAsync(digest, Cancel));
    }

    [Fact]
    public async Task A_kernel_set_has_its_three_files()
    {
        var digest = _blobs.AddSet();
        var store = Store();
        await store.EnsureAsync(digest, Cancel);

        var image = (await store.FindAsync(digest, Cancel))!;
        Assert.Equal(DiskFormat.Raw, image.Format);
        Assert.Equal("kernel", await File.ReadAllTextAsync(image.Kernel!.Value.Kernel, Cancel));
        Assert.Equal("initramfs", await File.ReadAllTextAsync(image.Kernel!.Value.Initramfs, Cancel));
    }

    [Fact]
    public async Task A_transfer_that_broke_goes_on_where_it_stopped_also_after_a_restart()
    {
        var (digest, disk) = _blobs.AddDisk("raw", Content(4 << 20));
        _blobs.BreakAfter = 1 << 20;
        await Assert.ThrowsAsync<DriverException>(() => Store().EnsureAsync(digest, Cancel).WaitAsync(Cancel));
        _blobs.BreakAfter = null;
        var store = Store();
        await store.EnsureAsync(digest, Cancel);

        Assert.Equal(disk, await File.ReadAllBytesAsync((await store.FindAsync(digest, Cancel))!.Path, Cancel));
        Assert.True(_blobs.Fetches.Last(fetch => fetch.Digest == DiskBlobs.DigestOf(disk)).Offset >= 1 << 20);
    }

    [Fact]
    public async Task Damage_of_what_was_fetched_before_heals_and_other_content_is_refused()
    {
        var (digest, disk) = _blobs.AddDisk("raw", Content(1 << 20));
        var partial = Path.Combine(_folder.Path, "images", "sha256", DiskBlobs.DigestOf(disk)[7..] + BlobDownload.Unfinished);
        var store = Store();
        await File.WriteAllBytesAsync(partial, new byte[4096].Select(_ => (byte)1).ToArray(), Cancel);
        await store.EnsureAsync(digest, Cancel);
        Assert.Equal(disk, await File.ReadAllBytesAsync((await store.FindAsync(digest, Cancel))!.Path, Cancel));

        var (other, content) = _blobs.AddDisk("raw", Content(1 << 20, seed: 9));
        _blobs.Content[DiskBlobs.DigestOf(content)] = disk;
        var refusal = await Assert.ThrowsAsync<DriverException>(() => store.EnsureAsync(other, Cancel));
        Assert.Equal(("ImageInvalid", true), (refusal.Reason, refusal.Permanent));
        Assert.Null(await store.FindAsync(other, Cancel));
        Assert.False(File.Exists(Path.Combine(_folder.Path, "images", "sha256", DiskBlobs.DigestOf(content)[7..])));
    }

    [Fact]
    public async Task A_blob_that_is_longer_than_it_should_be_is_not_written()
    {
        var (digest, disk) = _blobs.AddDisk("raw", Content(1 << 20));
        _blobs.Content[DiskBlobs.DigestOf(disk)] = new byte[64 << 20];

        Assert.Equal("ImageInvalid", (await Assert.ThrowsAsync<DriverException>(() => Store().EnsureAsync(digest, Cancel))).Reason);
        Assert.All(Directory.EnumerateFiles(_folder.Path, "*", SearchOption.AllDirectories), file => Assert.InRange(new FileInfo(file).Length, 0, 4096));
    }

    [Theory]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:CONFIG","size":2},"layers":[{"mediaType":"application/vnd.hypervisor.disk.v1.raw","digest":"sha256:CONFIG","size":2}]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.hypervisor.disk-image.config.v1+json","digest":"sha256:../../../etc/passwd","size":2},"layers":[{"mediaType":"application/vnd.hypervisor.disk.v1.raw","digest":"sha256:CONFIG","size":2}]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.hypervisor.disk-image.config.v1+json","digest":"sha256:CONFIG","size":2},"layers":[{"mediaType":"application/vnd.hypervisor.disk.v1.vmdk","digest":"sha256:CONFIG","size":2}]}""")]
    [InlineData("no manifest")]
    public async Task A_manifest_of_something_else_is_refused(string manifest)
    {
        var digest = _blobs.Add(Encoding.UTF8.GetBytes(manifest.Replace("CONFIG", new string('a', 64), StringComparison.Ordinal)));

        Assert.Equal("ImageInvalid", (await Assert.ThrowsAsync<DriverException>(() => Store().EnsureAsync(digest, Cancel))).Reason);
        Assert.Null(await Store().FindAsync("sha256:../../x", Cancel));
    }

    [Fact]
    public async Task What_is_gone_at_the_control_plane_is_said()
    {
        var (digest, disk) = _blobs.AddDisk("raw", Content(4096));
        _blobs.Content.Remove(DiskBlobs.DigestOf(disk));

        Assert.Equal("ImageNotFound", (await Assert.ThrowsAsync<DriverException>(() => Store().EnsureAsync(digest, Cancel))).Reason);
    }

    [Fact]
    public async Task Zeros_take_no_room_and_files_cannot_be_written_to()
    {
        var (digest, disk) = _blobs.AddDisk("raw", new byte[8 << 20]);
        var store = Store();
        await store.EnsureAsync(digest, Cancel);
        var path = (await store.FindAsync(digest, Cancel))!.Path;

        Assert.Equal(disk, await File.ReadAllBytesAsync(path, Cancel));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead, File.GetUnixFileMode(path));
    }

    [Fact]
    public async Task Removing_an_image_leaves_what_another_one_shares()
    {
        var (first, shared) = _blobs.AddDisk("raw", Content(4096));
        var (second, _) = _blobs.AddDisk("raw", shared, user: "root");
        var holder = new Holder { Held = { second } };
        var store = Store(holder);
        await store.EnsureAsync(first, Cancel);
        await store.EnsureAsync(second, Cancel);
        Assert.Equal(2, (await store.ListAsync(Cancel)).Count);
        Assert.Equal([second], (await store.HeldAsync(Cancel))!);
        Assert.Null(await Store().HeldAsync(Cancel));

        await store.RemoveAsync(first, Cancel);
        Assert.Null(await store.FindAsync(first, Cancel));
        Assert.Equal(shared, await File.ReadAllBytesAsync((await store.FindAsync(second, Cancel))!.Path, Cancel));

        await store.RemoveAsync(second, Cancel);
        Assert.Empty(Directory.EnumerateFiles(_folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task Old_leftovers_go_at_the_start_and_recent_ones_stay()
    {
        var blobs = Path.Combine(_folder.Path, "images", "sha256");
        _ = Store();
        var (old, recent) = (Path.Combine(blobs, new string('a', 64) + ".partial"), Path.Combine(blobs, new string('b', 64) + ".partial"));
        await File.WriteAllTextAsync(old, "x", Cancel);
        await File.WriteAllTextAsync(recent, "x", Cancel);
        File.SetLastWriteTimeUtc(old, DateTime.UnixEpoch);

        _ = Store();

        Assert.Equal((false, true), (File.Exists(old), File.Exists(recent)));
    }

    private static byte[] Content(int bytes, int seed = 3)
    {
        var content = new byte[bytes];
        new Random(seed).NextBytes(content);
        return content;
    }

    private DiskImageStore Store(params IImageHolder[] holders) => new(_folder.Path, _blobs, RealClock.Instance, holders);

    private sealed class Holder : IImageHolder
    {
        public HashSet<string> Held { get; } = [];

        public Task<IReadOnlySet<string>> HeldAsync(CancellationToken cancellationToken) => Task.FromResult<IReadOnlySet<string>>(Held);
    }
}
