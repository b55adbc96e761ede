using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Images;
using Hypervisor.ClusterTests.Containerd;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Hypervisor.Tests.Hosting.Registries;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;
using ListSnapshotsRequest = Containerd.Services.Snapshots.V1.ListSnapshotsRequest;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>
/// Protects: a node's download from a registry ends with the right content or with a reason, whatever the registry does, and
/// unused images give way to new ones (Converges, NoOrphans).
/// </summary>
public sealed class NodeDownloadTests(ContainerdHost host) : IClassFixture<ContainerdHost>, IAsyncLifetime
{
    private FakeRegistry _registry = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _registry = await FakeRegistry.StartAsync();

    public ValueTask DisposeAsync() => _registry.DisposeAsync();

    [Fact]
    public async Task A_layer_that_is_cut_is_resumed_and_only_the_registry_is_asked()
    {
        var (digest, layer) = AddImage("cut", RandomNumberGenerator.GetBytes(4_000_000));
        var blob = _registry.Blobs[layer];
        var cuts = 1;
        _registry.Misbehave = async context =>
        {
            if (!context.Request.Path.Value!.EndsWith(layer, StringComparison.Ordinal) || Interlocked.Decrement(ref cuts) < 0)
            {
                return false;
            }

            await _registry.ServeAsync(context, blob, blob.Length * 6 / 10);
            return true;
        };
        var asked = host.ControlPlane.Requests.Count;

        Assert.Equal(digest, await EnsureAsync("cut"));
        Assert.Equal(asked, host.ControlPlane.Requests.Count);
        Assert.Contains(_registry.Requests, request => request.Range.StartsWith("bytes=", StringComparison.Ordinal) && request.Range != "bytes=0-");
    }

    [Fact]
    public async Task A_download_goes_on_after_a_restart_of_the_agent()
    {
        var (digest, layer) = AddImage("restart", RandomNumberGenerator.GetBytes(6_000_000));
        var blob = _registry.Blobs[layer];
        var half = new TaskCompletionSource();
        var first = true;
        _registry.Misbehave = async context =>
        {
            if (!first || !context.Request.Path.Value!.EndsWith(layer, StringComparison.Ordinal))
            {
                return false;
            }

            first = false;
            context.Response.ContentLength = blob.Length;
            await context.Response.Body.WriteAsync(blob.AsMemory(0, blob.Length / 2));
            await context.Response.Body.FlushAsync();
            half.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, RealTime.Clock, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return true;
        };
        using var agent = new CancellationTokenSource();
        var ensuring = EnsureAsync("restart", agent.Token);
        await half.Task.WaitAsync(Cancel);
        await RealTime.UntilAsync("containerd has some of it", TimeSpan.FromSeconds(20), () =>
            Directory.EnumerateFiles($"{host.Root}/root/io.containerd.content.v1.content/ingest", "data", SearchOption.AllDirectories)
                .Any(file => new FileInfo(file).Length > 1_000_000));
        host.EndAgent();
        await agent.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => ensuring);
        await host.CollectGarbageAsync();
        Assert.Single(await host.LeasesAsync());

        host.ForgetEverything();
        Assert.Equal(digest, await EnsureAsync("restart"));
        Assert.Contains(_registry.Requests, request => request.Path.EndsWith(layer, StringComparison.Ordinal) && request.Range.Length > "bytes=0-".Length);
        Assert.Empty(await host.LeasesAsync());
    }

    [Fact]
    public async Task What_the_registry_no_longer_gives_is_asked_of_the_control_plane()
    {
        var (digest, layer) = AddImage("gone", RandomNumberGenerator.GetBytes(200_000));
        foreach (var (blob, content) in _registry.Blobs)
        {
            host.ControlPlane.Blobs[blob] = content;
        }

        _registry.Blobs.TryRemove(layer, out _);
        Assert.Equal(digest, await EnsureAsync("gone"));
        Assert.Contains(host.ControlPlane.Requests, request => request.Digest == layer);
    }

    [Fact]
    public async Task Who_gives_other_content_than_promised_or_none_is_named()
    {
        var (_, layer) = AddImage("lies", RandomNumberGenerator.GetBytes(200_000));
        _registry.Blobs[layer] = [.. _registry.Blobs[layer].Select(value => (byte)(value ^ 1))];
        var lies = await Assert.ThrowsAsync<DriverException>(() => EnsureAsync("lies"));
        Assert.Equal(("ImageInvalid", true), (lies.Reason, lies.Permanent));

        var (_, missing) = AddImage("missing", RandomNumberGenerator.GetBytes(200_000));
        _registry.Blobs.TryRemove(missing, out var _);
        var none = await Assert.ThrowsAsync<DriverException>(() => EnsureAsync("missing"));
        Assert.Equal("ImageNotFound", none.Reason);
        Assert.Contains(_registry.Name, none.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_layer_that_fills_the_disk_is_stopped_and_leaves_nothing()
    {
        AddImage("bomb", new byte[300 << 20], CompressionLevel.SmallestSize);
        var bomb = await Assert.ThrowsAsync<DriverException>(() => EnsureAsync("bomb"));
        Assert.Equal(("ImageInvalid", true), (bomb.Reason, bomb.Permanent));
        Assert.Contains("bomb", bomb.Message, StringComparison.Ordinal);
        using var list = host.Client.Snapshots.List(new ListSnapshotsRequest { Snapshotter = "overlayfs" }, host.Client.Call(Cancel));
        await foreach (var page in list.ResponseStream.ReadAllAsync(Cancel))
        {
            Assert.DoesNotContain(page.Info, snapshot => snapshot.Name.StartsWith("unpack-", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Unused_images_go_when_they_are_too_much_and_used_ones_stay()
    {
        await using var own = new ContainerdHost();
        await own.InitializeAsync();
        var clock = new ShiftedTime();
        var use = new ImageUse(clock);
        List<string> digests = [];
        foreach (var name in new[] { "old", "held", "new" })
        {
            var (digest, _) = AddImage("cache-" + name, RandomNumberGenerator.GetBytes(2_000_000));
            own.ControlPlane.References["cache-" + name] = digest;
            own.ControlPlane.Sources["cache-" + name] = host.ControlPlane.Sources["cache-" + name];
            await own.Images.EnsureAsync("default", "cache-" + name, "", default, Cancel);
            use.Note(digest);
            digests.Add(digest);
            clock.Shift += TimeSpan.FromMinutes(1);
        }

        await own.Client.Containers.CreateAsync(
            new()
            {
                Container = new()
                {
                    Id = "holder",
                    Image = ImageStore.NameOf(digests[1]),
                    Runtime = new() { Name = "io.containerd.runc.v2" },
                    Spec = new Any { TypeUrl = "x", Value = Google.Protobuf.ByteString.CopyFromUtf8("{}") },
                },
            },
            own.Client.Call(Cancel));

        // About 4 MB each, packed and unpacked; the busybox that came with the host is used by nobody either.
        var cache = new ImageCache(own.Client, own.Store, use, 10_000_000, clock, NullLogger<ImageCache>.Instance);
        Assert.Empty(await cache.CollectAsync(Cancel));
        clock.Shift += TimeSpan.FromMinutes(9);
        var removed = await cache.CollectAsync(Cancel);
        Assert.DoesNotContain(digests[1], removed);
        Assert.DoesNotContain(digests[2], removed);
        Assert.NotEmpty(removed);

        clock.Shift += TimeSpan.FromDays(1);
        await new ImageCache(own.Client, own.Store, use, 1, clock, NullLogger<ImageCache>.Instance).CollectAsync(Cancel);
        own.ForgetEverything();
        Assert.Null(await own.Store.FindAsync(digests[0], Cancel));
        Assert.NotNull(await own.Store.FindAsync(digests[1], Cancel));
        Assert.Null(await own.Store.FindAsync(digests[2], Cancel));
        await own.Client.Containers.DeleteAsync(new() { Id = "holder" }, own.Client.Call(Cancel));
    }

    private Task<string> EnsureAsync(string reference, CancellationToken cancellationToken = default) =>
        host.Images.EnsureAsync("default", reference, "", default, cancellationToken == default ? Cancel : cancellationToken);

    /// <summary>An image of one gzip layer with one file, at the registry only.</summary>
    private (string Digest, string Layer) AddImage(string reference, byte[] file, CompressionLevel level = CompressionLevel.Fastest)
    {
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, leaveOpen: true))
        {
            writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, "data") { DataStream = new MemoryStream(file), Mode = (UnixFileMode)0x1A4 });
        }

        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, level, leaveOpen: true))
        {
            gzip.Write(tar.GetBuffer().AsSpan(0, (int)tar.Length));
        }

        var layer = _registry.AddBlob(packed.ToArray());
        var configuration = JsonSerializer.SerializeToUtf8Bytes(new
        {
            architecture = "amd64",
            os = "linux",
            config = new { Cmd = new[] { "/data" } },
            rootfs = new { type = "layers", diff_ids = new[] { ChainIds.Digest(tar.GetBuffer().AsSpan(0, (int)tar.Length)) } },
        });
        const string Prefix = "application/vnd.oci.image.";
        var digest = _registry.AddManifest("app", reference, JsonSerializer.SerializeToUtf8Bytes(new
        {
            schemaVersion = 2,
            mediaType = Prefix + "manifest.v1+json",
            config = new { mediaType = Prefix + "config.v1+json", digest = _registry.AddBlob(configuration), size = configuration.Length },
            layers = new[] { new { mediaType = Prefix + "layer.v1.tar+gzip", digest = layer, size = _registry.Blobs[layer].Length } },
        }));
        host.ControlPlane.References[reference] = digest;
        host.ControlPlane.Sources[reference] = new ImageSource
        {
            Repository = "app",
            Endpoints = { new RegistryEndpoint { Host = _registry.Name, PlainHttp = true, Trusted = true } },
        };
        return (digest, layer);
    }

    /// <summary>The real time, later.</summary>
    private sealed class ShiftedTime : TimeProvider
    {
        public TimeSpan Shift { get; set; }

        public override DateTimeOffset GetUtcNow() => RealTime.Clock.GetUtcNow() + Shift;
    }
}
