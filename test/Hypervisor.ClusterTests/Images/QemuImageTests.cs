using System.Runtime.CompilerServices;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Images;

/// <summary>
/// Protects: every disk that qemu-img makes is taken whole or refused with the reason, and none makes anybody open another file
/// (HostConfined; CVE-2022-47951, 2024-32498, 2024-40767).
/// </summary>
public sealed class QemuImageTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("qemu-images-");
    private readonly BlobStore _blobs;
    private readonly string _content;

    public QemuImageTests()
    {
        _blobs = BlobStore.Open(Path.Combine(_folder.FullName, "server"));
        _content = File("content");
        var bytes = new byte[4 << 20];
        new Random(5).NextBytes(bytes.AsSpan(1 << 20, 2 << 20));
        System.IO.File.WriteAllBytes(_content, bytes);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("")]
    [InlineData("-o compat=0.10")]
    [InlineData("-o cluster_size=512")]
    [InlineData("-o cluster_size=2M")]
    [InlineData("-o extended_l2=on,cluster_size=128k")]
    [InlineData("-o preallocation=metadata")]
    [InlineData("-o refcount_bits=1")]
    [InlineData("-c")]
    [InlineData("-c -o compression_type=zstd")]
    public async Task A_disk_that_stands_for_itself_reaches_a_guest_as_it_was(string options)
    {
        var disk = File("disk");
        await QemuAsync(["convert", "-f", "raw", "-O", "qcow2", .. options.Split(' ', StringSplitOptions.RemoveEmptyEntries), _content, disk]);
        using var lease = _blobs.Lease();
        var image = await ImportAsync(disk, ImageFormat.Qcow2, lease);
        Assert.Equal(4 << 20, image.VirtualSizeBytes);

        // As an agent has it, with an instance's disk over it: grown, and both formats named.
        var store = new DiskImageStore(File("agent"), new ServerBlobs(_blobs), RealTime.Clock, []);
        await store.EnsureAsync(image.Digest.Value, Cancel);
        var found = (await store.FindAsync(image.Digest.Value, Cancel))!;
        Assert.Equal((DiskFormat.Qcow2, 4L << 20), (found.Format, found.VirtualSizeBytes));
        await QemuAsync("create", "-f", "qcow2", "-F", "qcow2", "-b", found.Path, File("overlay"), "8M");
        await QemuAsync("convert", "-f", "qcow2", "-O", "raw", File("overlay"), File("seen"));
        var seen = await System.IO.File.ReadAllBytesAsync(File("seen"), Cancel);
        Assert.Equal(await System.IO.File.ReadAllBytesAsync(_content, Cancel), seen[..(4 << 20)]);
    }

    [Fact]
    public async Task A_disk_that_leads_elsewhere_is_refused_and_the_other_file_is_not_opened()
    {
        // Whoever opened it would wait for its writer, for ever.
        var canary = File("canary");
        await Shell.RunAsync("mkfifo", canary);
        var backed = File("backed");
        await QemuAsync("create", "-f", "qcow2", "-u", "-b", canary, "-F", "raw", backed, "4M");
        Assert.Contains("backing file", await RefusalAsync(backed, ImageFormat.Qcow2), StringComparison.Ordinal);
        Assert.Contains("qcow2 disk", await RefusalAsync(backed, ImageFormat.Raw), StringComparison.Ordinal);

        var external = File("external");
        await QemuAsync("create", "-f", "qcow2", "-o", $"data_file={File("data")}", external, "4M");
        Assert.Contains("another file", await RefusalAsync(external, ImageFormat.Qcow2), StringComparison.Ordinal);

        var flat = File("flat.vmdk");
        await QemuAsync("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "4M");
        Assert.Contains("VMDK", await RefusalAsync(flat, ImageFormat.Raw), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disks_that_hide_something_are_refused()
    {
        var encrypted = File("encrypted");

        // Not with LUKS: there qemu-img measures first how fast it derives keys, and fails where the clock of its thread is too coarse for that.
        await QemuAsync("create", "-f", "qcow2", "--object", "secret,id=s,data=secret", "-o", "encrypt.format=aes,encrypt.key-secret=s", encrypted, "4M");
        Assert.Contains("encrypted", await RefusalAsync(encrypted, ImageFormat.Qcow2), StringComparison.Ordinal);

        var snapshot = File("snapshot");
        await QemuAsync("convert", "-f", "raw", "-O", "qcow2", _content, snapshot);
        await QemuAsync("snapshot", "-c", "one", snapshot);
        Assert.Contains("internal snapshots", await RefusalAsync(snapshot, ImageFormat.Qcow2), StringComparison.Ordinal);

        var huge = File("huge");
        await QemuAsync("create", "-f", "qcow2", "-o", "cluster_size=2M", huge, "100T");
        Assert.Contains("virtual size", await RefusalAsync(huge, ImageFormat.Qcow2), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_disk_that_was_cut_off_is_refused_wherever_it_was()
    {
        var disk = File("whole");
        await QemuAsync("convert", "-f", "raw", "-O", "qcow2", _content, disk);
        var whole = await System.IO.File.ReadAllBytesAsync(disk, Cancel);
        for (var length = whole.Length - 65536; length > 0; length -= 65536)
        {
            await System.IO.File.WriteAllBytesAsync(File("cut"), whole[..length], Cancel);
            await RefusalAsync(File("cut"), ImageFormat.Qcow2);
        }
    }

    [Theory]
    [InlineData("vmdk")]
    [InlineData("vdi")]
    [InlineData("vpc")]
    [InlineData("vhdx")]
    [InlineData("qed")]
    [InlineData("qcow")]
    [InlineData("parallels")]
    public async Task Other_formats_are_recognised_whatever_they_are_called(string format)
    {
        var disk = File("renamed.qcow2");
        await QemuAsync("create", "-f", format, disk, "4M");
        await AssertRecognisedAsync(disk);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_volume_of_LUKS_is_recognised_by_its_first_bytes(byte version)
    {
        var disk = File("renamed.qcow2");
        var content = new byte[4 << 20];
        ReadOnlySpan<byte> start = [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xBA, 0xBE, 0, version];
        start.CopyTo(content);
        await System.IO.File.WriteAllBytesAsync(disk, content, Cancel);
        await AssertRecognisedAsync(disk);
    }

    private async Task AssertRecognisedAsync(string disk)
    {
        Assert.Contains("convert", await RefusalAsync(disk, ImageFormat.Qcow2), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("called raw", await RefusalAsync(disk, ImageFormat.Raw), StringComparison.Ordinal);
        await RefusalAsync(disk, ImageFormat.Unspecified);
    }

    private string File(string name) => Path.Combine(_folder.FullName, name);

    private static Task<string> QemuAsync(params string[] arguments) => Shell.RunAsync("qemu-img", arguments);

    private async Task<string> RefusalAsync(string path, ImageFormat format)
    {
        using (var lease = _blobs.Lease())
        {
            var refusal = await Assert.ThrowsAsync<InvalidImageException>(() => ImportAsync(path, format, lease).WaitAsync(TimeSpan.FromSeconds(30), RealTime.Clock, Cancel));
            Assert.DoesNotContain(refusal.Message, char.IsControl);
            Assert.Empty(Directory.EnumerateFiles(File("server"), "*", SearchOption.AllDirectories));
            return refusal.Message;
        }
    }

    private async Task<VerifiedImage> ImportAsync(string path, ImageFormat format, BlobLease lease)
    {
        var limits = new ImagesConfiguration();
        var violations = new FieldViolations();
        var metadata = ImageMetadata.Of(new ImportImageHeader { Format = format }, limits, "", violations);
        violations.ThrowIfAny();
        return await new ImageReception(_blobs, limits, RealTime.Clock).ReceiveAsync(PiecesAsync(path), metadata, null, lease, Cancel);
    }

    private static async IAsyncEnumerable<ReadOnlyMemory<byte>> PiecesAsync(string path)
    {
        await using var file = System.IO.File.OpenRead(path);
        var buffer = new byte[256 * 1024];
        for (int count; (count = await file.ReadAsync(buffer, Cancel)) > 0;)
        {
            yield return buffer.AsMemory(0, count);
        }
    }

    /// <summary>The server's blobs as an agent fetches them.</summary>
    private sealed class ServerBlobs(BlobStore blobs) : IControlPlane
    {
        public async IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(FetchBlobRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            Assert.True(ImageDigest.TryParse(request.Digest, out var digest));
            await using var blob = blobs.OpenRead(digest) ?? throw new RpcException(new Status(StatusCode.NotFound, "no such blob"));
            blob.Position = request.Offset;
            var first = true;
            for (var buffer = new byte[1 << 20]; await blob.ReadAsync(buffer, cancellationToken) is var count && (first || count > 0); first = false)
            {
                yield return new FetchBlobResponse { TotalBytes = first ? blob.Length : 0, Data = ByteString.CopyFrom(buffer.AsSpan(0, count)) };
            }
        }

        public Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

        public IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(IAsyncEnumerable<HeartbeatRequest> beats, CancellationToken cancellationToken) => throw new NotSupportedException();

        public IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(WatchAssignmentsRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
