using System.IO.Compression;
using System.Security.Cryptography;
using Containerd.Services.Content.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Images;
using Hypervisor.Hosting.Randomness;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: decompressing for containerd changes nothing but the time it takes, leaves nothing, and fills no disk (NoOrphans).</summary>
public sealed class PlainLayerTests(ContainerdHost host) : IClassFixture<ContainerdHost>, IAsyncLifetime
{
    private const string GzipType = "application/vnd.oci.image.layer.v1.tar+gzip";

    private static readonly UnpackAllowance Plenty = new(long.MaxValue);

    private readonly PlainLayers _layers = new(host.Client, RealTime.Clock, new SystemRandomSource());
    private ContainerdLease _lease = null!;

    public async ValueTask InitializeAsync() =>
        _lease = await ContainerdLease.OpenAsync(host.Client, new SystemRandomSource().NewUid(), RealTime.Clock.GetUtcNow(), Cancel, collect: true);

    public ValueTask DisposeAsync() => _lease.DisposeAsync();

    [Fact]
    public async Task The_plain_archive_is_there_as_long_as_it_is_needed()
    {
        var content = RandomNumberGenerator.GetBytes(3 << 20);
        var diffId = ChainIds.Digest(content);
        var layer = await PutAsync(Gzip(content, CompressionLevel.Fastest));

        var plain = await _layers.MakeAsync(layer, diffId, Plenty, Cancel);
        Assert.NotNull(plain);
        Assert.Equal((diffId, (long)content.Length), (plain.Descriptor.Digest, plain.Descriptor.Size));
        Assert.True(await IsThereAsync(diffId));

        // Twice at once, as when two images share a layer: each holds it.
        var again = await _layers.MakeAsync(layer, diffId, Plenty, Cancel);
        await plain.DisposeAsync();
        Assert.True(await IsThereAsync(diffId));
        await again!.DisposeAsync();
        Assert.False(await IsThereAsync(diffId));
        Assert.True(await IsThereAsync(layer.Digest));
    }

    [Fact]
    public async Task What_is_not_as_its_type_or_the_configuration_says_is_left_to_containerd_and_leaves_nothing()
    {
        var content = RandomNumberGenerator.GetBytes(1 << 20);
        var packed = Gzip(content, CompressionLevel.Fastest);
        var other = ChainIds.Digest("other"u8);

        Assert.Null(await _layers.MakeAsync(await PutAsync(RandomNumberGenerator.GetBytes(1 << 20)), other, Plenty, Cancel));
        Assert.Null(await _layers.MakeAsync(await PutAsync(packed), other, Plenty, Cancel));
        Assert.Null(await _layers.MakeAsync(await PutAsync(packed[..(packed.Length / 2)]), ChainIds.Digest(content), Plenty, Cancel));
        Assert.Null(await _layers.MakeAsync(new ImageDescriptor(GzipType, other, 1 << 20), other, Plenty, Cancel));
        await NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_bomb_is_refused_before_more_than_its_limit_is_written()
    {
        var content = new byte[ContainerdLimits.BombGraceBytes + (16 << 20)];
        var layer = await PutAsync(Gzip(content, CompressionLevel.SmallestSize));

        // Its announced size is what the limit is made of.
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => _layers.MakeAsync(layer with { Size = 1 }, ChainIds.Digest(content), Plenty, Cancel));

        Assert.Contains("bomb", error.Message, StringComparison.Ordinal);
        var tight = await Assert.ThrowsAsync<InvalidDataException>(
            () => _layers.MakeAsync(layer, ChainIds.Digest(content), new UnpackAllowance(10 << 20), Cancel));
        Assert.Contains("images.max_unpacked_size", tight.Message, StringComparison.Ordinal);
        Assert.False(await IsThereAsync(ChainIds.Digest(content)));
        await NothingIsLeftAsync();
    }

    private static byte[] Gzip(byte[] content, CompressionLevel level)
    {
        using var stream = new MemoryStream();
        using (var gzip = new GZipStream(stream, level))
        {
            gzip.Write(content);
        }

        return stream.ToArray();
    }

    /// <summary>No unfinished writes, which would stay until their lease expires.</summary>
    private Task NothingIsLeftAsync() => RealTime.UntilAsync("unfinished writes are gone", TimeSpan.FromSeconds(20), () => Directory
        .EnumerateFiles($"{host.Root}/root/io.containerd.content.v1.content/ingest", "data", SearchOption.AllDirectories)
        .All(file => new FileInfo(file).Length == 0));

    private async Task<ImageDescriptor> PutAsync(byte[] blob)
    {
        var digest = ChainIds.Digest(blob);
        await using var write = new ContentWrite(host.Client, RealTime.Clock, "test-" + digest[7..], digest, _lease.Id, Cancel);
        try
        {
            await write.BeginAsync();
            await write.AppendAsync(blob);
            await write.CommitAsync(blob.Length, new Dictionary<string, string>());
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
        }

        return new ImageDescriptor(GzipType, digest, blob.Length);
    }

    private async Task<bool> IsThereAsync(string digest)
    {
        try
        {
            await host.Client.Content.InfoAsync(new InfoRequest { Digest = digest }, host.Client.Call(Cancel));
            return true;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            return false;
        }
    }
}
