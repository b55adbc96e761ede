using System.Text;
using Grpc.Core;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Images.Registries;
using Hypervisor.Server.State;
using Hypervisor.Tests.Hosting.Registries;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Images.Registries;

/// <summary>
/// Protects: a name means one image, found out once; what a registry sends is judged as an archive is; a pulled image needs its
/// registry no more (PolicyEverywhere, SecretsSilent).
/// </summary>
public sealed class RegistryImagesTests : IAsyncLifetime
{
    private const string Password = "pass-51c0de";

    private static readonly ImagesConfiguration Limits = new() { MaxUnpackedBytes = 1 << 30 };

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("pulls-");
    private readonly RegistryClient _client = new(RealClock.Instance, new SystemRandomSource());
    private ControlPlane _plane = null!;
    private FakeRegistry _registry = null!;
    private BlobStore _blobs = null!;
    private ImageRecords _records = null!;
    private RegistryDirectory _registries = null!;
    private RemoteImages _remote = null!;
    private ImageResolution _resolution = null!;
    private ImagePulls _pulls = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _plane = await ControlPlane.StartAsync(Cancel);
        _registry = await FakeRegistry.StartAsync();
        _blobs = BlobStore.Open(_directory.FullName);
        _records = new ImageRecords(_plane.State, _plane.Reads, _plane.Writer, _blobs, _plane.Time, _plane.Random);
        _registries = new RegistryDirectory(
        [
            new RegistryConfiguration { Host = _registry.Name, PlainHttp = true, Username = "ann", Password = new Secret(Password) },
            new RegistryConfiguration { Host = "docker.io", Mirrors = [_registry.Name] },
            new RegistryConfiguration { Host = "elsewhere.example", Username = "bob", Password = new Secret("other-" + Password) },
        ]);
        _remote = new RemoteImages(_client, Limits);
        _resolution = new ImageResolution(_plane.Reads, _blobs, _records, _remote, _registries, Limits, RealClock.Instance);
        _pulls = PullsWithin(Limits);
    }

    public async ValueTask DisposeAsync()
    {
        _pulls.Dispose();
        _resolution.Dispose();
        _records.Dispose();
        _client.Dispose();
        await _registry.DisposeAsync();
        await _plane.DisposeAsync();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_name_that_nobody_knows_is_looked_up_once_for_all_and_remembered()
    {
        var digest = AddImage("team/app", "1");
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => ResolveAsync("team/app:1")));

        Assert.All(answers, answer => Assert.Equal((digest, false), (answer.Digest, answer.Stored)));
        Assert.Equal(1, _registry.Requests.Count(request => request.Path.EndsWith("/manifests/1", StringComparison.Ordinal)));
        Assert.Equal("docker.io/team/app", (await RecordAsync("team/app:1"))!.Source);
        Assert.False((await RecordAsync("team/app:1"))!.Stored);

        _registry.Manifests.Clear();
        Assert.Equal(digest, (await ResolveAsync("docker.io/team/app:1")).Digest);
    }

    [Fact]
    public async Task Policies_decide_whether_the_registry_is_asked()
    {
        Assert.Equal(StatusCode.NotFound, await RefusalAsync(() => ResolveAsync("app:1", ImagePullPolicy.Never)));
        Assert.Empty(_registry.Requests);

        var first = AddImage("library/app", "1");
        await ResolveAsync("app:1");
        var second = AddImage("library/app", "1", "other");
        Assert.Equal(first, (await ResolveAsync("app:1")).Digest);
        Assert.Equal(first, (await ResolveAsync("app:1", ImagePullPolicy.Never)).Digest);
        Assert.Equal(second, (await ResolveAsync("app:1", ImagePullPolicy.Always)).Digest);
        Assert.Equal(2, (await EntryAsync("app:1"))!.Record.Metadata.Generation);
        Assert.Equal(first, (await ResolveAsync("app:1", digest: first)).Digest);
    }

    [Fact]
    public async Task An_agent_gets_the_credentials_of_what_it_asks_and_of_nothing_else_and_the_store_gets_none()
    {
        AddImage("app", "1");
        var answer = await ResolveAsync($"{_registry.Name}/app:1");

        var endpoint = Assert.Single(answer.Source.Endpoints);
        Assert.Equal((_registry.Name, true, true, "ann", Password), (endpoint.Host, endpoint.PlainHttp, endpoint.Trusted, endpoint.Username, endpoint.Password));
        Assert.All(answer.Source.Known, known => Assert.Equal(("", ""), (known.Username, known.Password)));
        var record = (await EntryAsync($"{_registry.Name}/app:1"))!.Record;
        Assert.DoesNotContain(Password, record.ToString(), StringComparison.Ordinal);
        Assert.All(
            Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories),
            file => Assert.DoesNotContain(Password, File.ReadAllText(file), StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_failure_is_said_in_words_and_asked_for_once_in_a_while()
    {
        var missing = await Assert.ThrowsAsync<RpcException>(() => ResolveAsync($"{_registry.Name}/none:1"));
        Assert.Equal(StatusCode.NotFound, missing.StatusCode);
        Assert.Contains($"Registry {_registry.Name} has no image none:1", missing.Status.Detail, StringComparison.Ordinal);
        var asked = _registry.Requests.Count;
        await Assert.ThrowsAsync<RpcException>(() => ResolveAsync($"{_registry.Name}/none:1"));
        Assert.Equal(asked, _registry.Requests.Count);

        _registry.Misbehave = context =>
        {
            context.Response.StatusCode = 403;
            return Task.FromResult(true);
        };
        var refused = await Assert.ThrowsAsync<RpcException>(() => ResolveAsync($"{_registry.Name}/secret:1"));
        Assert.Equal(StatusCode.PermissionDenied, refused.StatusCode);
        Assert.DoesNotContain(Password, refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_an_index_the_image_for_our_platform_is_taken()
    {
        var layer = _registry.AddBlob(ImageArchives.Gzip(ImageArchives.Layer));
        var ours = _registry.AddManifest("app", "ours", ManifestOf(ImageArchives.Config(ImageArchives.Layer), layer));
        var theirs = _registry.AddManifest("app", "theirs", ManifestOf(ImageArchives.Config(ImageArchives.Layer, "arm64"), layer));
        var inner = _registry.AddManifest("app", "inner", Index((theirs, "arm64"), (ours, "amd64")), "application/vnd.oci.image.index.v1+json");
        _registry.AddManifest("app", "both", Index((inner, "amd64")), "application/vnd.docker.distribution.manifest.list.v2+json");
        _registry.AddManifest("app", "foreign", Index((theirs, "arm64")), "application/vnd.oci.image.index.v1+json");

        Assert.Equal(ours, (await ResolveAsync($"{_registry.Name}/app:both")).Digest);
        var refused = await Assert.ThrowsAsync<RpcException>(() => ResolveAsync($"{_registry.Name}/app:foreign"));
        Assert.Equal(StatusCode.DataLoss, refused.StatusCode);
        Assert.Contains("linux/arm64 only", refused.Status.Detail, StringComparison.Ordinal);
        await Assert.ThrowsAsync<RpcException>(() => ResolveAsync($"{_registry.Name}/app:theirs"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("<html>")]
    [InlineData("{}")]
    [InlineData("""{"schemaVersion":1,"fsLayers":[]}""")]
    [InlineData("""{"schemaVersion":2,"schemaVersion":2}""")]
    [InlineData("""{"schemaVersion":2,"layers":[]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:../../etc/passwd","size":1},"layers":[null]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"x","size":1},"layers":[{"mediaType":"text/plain","digest":"x","size":1}]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"x","size":1},"layers":[]}""")]
    [InlineData("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[null]}""")]
    [InlineData("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:x","size":-1}]}""")]
    public async Task What_is_no_image_is_refused(string manifest)
    {
        _registry.AddManifest("app", "1", Encoding.UTF8.GetBytes(manifest));
        Assert.Equal(StatusCode.DataLoss, await RefusalAsync(() => ResolveAsync($"{_registry.Name}/app:1")));
        Assert.Null(await EntryAsync($"{_registry.Name}/app:1"));
    }

    [Fact]
    public async Task Sizes_that_would_overflow_or_fill_the_disk_are_refused()
    {
        var config = _registry.AddBlob(ImageArchives.Config(ImageArchives.Layer));
        var digest = "sha256:" + new string('1', 64);
        foreach (var size in new[] { long.MaxValue, 0, -1 })
        {
            var layer = $$"""{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{{digest}}","size":{{size}}}""";
            _registry.AddManifest("app", $"s{size.ToString().TrimStart('-')}", Encoding.UTF8.GetBytes(
                $$"""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{config}}","size":1},"layers":[{{layer}},{{layer}}]}"""));
            Assert.Equal(StatusCode.DataLoss, await RefusalAsync(() => ResolveAsync($"{_registry.Name}/app:s{size.ToString().TrimStart('-')}")));
        }
    }

    [Fact]
    public async Task A_pull_shows_rising_progress_and_what_it_brought_needs_the_registry_no_more()
    {
        var content = new byte[3_000_000];
        new SystemRandomSource().Fill(content);
        var tar = new TarBuilder().File("data", content).ToArray();
        var digest = AddLayer("library/app", "1", tar, ImageArchives.Gzip(tar));
        var arrived = new SemaphoreSlim(0);
        _registry.Misbehave = async context =>
        {
            if (!context.Request.Path.Value!.Contains("/blobs/", StringComparison.Ordinal))
            {
                return false;
            }

            // In pieces, each after the one before was reported: what a slow line does.
            var blob = _registry.Blobs[context.Request.Path.Value.Split('/')[^1]];
            context.Response.ContentLength = blob.Length;
            for (var offset = 0; offset < blob.Length; offset += 1 << 20)
            {
                await context.Response.Body.WriteAsync(blob.AsMemory(offset, Math.Min(1 << 20, blob.Length - offset)));
                await context.Response.Body.FlushAsync();
                if (blob.Length > 1 << 20)
                {
                    await arrived.WaitAsync(TimeSpan.FromSeconds(10));
                }
            }

            return true;
        };
        List<PullImageResponse> reports = [];
        await _pulls.PullAsync(
            new PullImageRequest { Image = "app:1" },
            report =>
            {
                if (reports.Count == 0 || report.BytesDone > reports[^1].BytesDone)
                {
                    arrived.Release();
                }

                reports.Add(report);
                return Task.CompletedTask;
            },
            Cancel);

        var rising = reports.Select(report => report.BytesDone).Distinct().ToList();
        Assert.True(rising.Count >= 3, string.Join(' ', rising));
        Assert.Equal(rising.Order(), rising);
        var last = reports[^1];
        Assert.Equal((last.BytesTotal, 1, 1, digest, true), (last.BytesDone, last.LayersDone, last.LayersTotal, last.Image.Digest, last.Image.Stored));

        await _registry.DisposeAsync();
        var answer = await ResolveAsync("app:1");
        Assert.Equal((digest, true), (answer.Digest, answer.Stored));
        Assert.All((await EntryAsync("app:1"))!.Record.BlobDigests, blob => Assert.NotNull(_blobs.SizeOf(Parsed(blob))));
        await _pulls.PullAsync(new PullImageRequest { Image = "app:1", Policy = ImagePullPolicy.IfNotPresent }, _ => Task.CompletedTask, Cancel);
    }

    [Fact]
    public async Task One_pull_serves_all_who_wait()
    {
        AddImage("library/app", "1");
        await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => PullAsync("app:1")));
        Assert.Single(_registry.Requests, request => request.Path.EndsWith("/manifests/1", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Layers_are_judged_as_an_archives_are_and_leave_nothing()
    {
        AddLayer("app", "device", new TarBuilder().Device("sda", '4', 8, 0).ToArray());
        AddLayer("app", "escape", new TarBuilder().File("../x", "").ToArray());
        var bomb = new TarBuilder().File("zeros", new byte[100 << 20]).ToArray();
        AddLayer("app", "bomb", bomb, ImageArchives.Gzip(bomb));
        var lie = new TarBuilder().File("a", "b").ToArray();
        AddLayer("app", "lie", lie, config: ImageArchives.Config(ImageArchives.Layer));
        var changed = ImageArchives.Gzip(new TarBuilder().File("c", "d").ToArray());
        AddLayer("app", "changed", lie, changed);
        _registry.Blobs[RegistryClient.DigestOf(changed)] = [.. changed[..^1], (byte)(changed[^1] ^ 1)];

        foreach (var tag in new[] { "device", "escape", "bomb", "lie", "changed" })
        {
            var refused = await Assert.ThrowsAsync<RpcException>(() => PullAsync($"{_registry.Name}/app:{tag}"));
            Assert.Equal((tag, StatusCode.DataLoss), (tag, refused.StatusCode));
            Assert.Null(await EntryAsync($"{_registry.Name}/app:{tag}"));
        }

        new ImageCollector(_plane.State, _blobs, _plane.Time, NullLogger<ImageCollector>.Instance).Collect();
        Assert.Empty(Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task What_layers_unpack_to_is_bounded_for_all_of_them_and_counts_wherever_it_is_unpacked()
    {
        var one = new TarBuilder().File("one", new byte[300_000]).ToArray();
        var two = new TarBuilder().File("two", new byte[300_000]).ToArray();
        AddLayers("app", "both", one, two);
        AddLayers("app", "twice", one, one);
        foreach (var tag in new[] { "both", "twice" })
        {
            using var tight = PullsWithin(Limits with { MaxUnpackedBytes = 500_000 });
            var refused = await Assert.ThrowsAsync<RpcException>(() => PullAsync($"{_registry.Name}/app:{tag}", tight));
            Assert.Equal((tag, StatusCode.DataLoss), (tag, refused.StatusCode));
            Assert.Contains("images.max_unpacked_size", refused.Status.Detail, StringComparison.Ordinal);
            using var enough = PullsWithin(Limits with { MaxUnpackedBytes = 700_000 });
            await PullAsync($"{_registry.Name}/app:{tag}", enough);
        }

        // Agents that download from the registry themselves are told the same bound.
        Assert.Equal(Limits.MaxUnpackedBytes, (await ResolveAsync($"{_registry.Name}/app:both")).MaxUnpackedBytes);
    }

    [Fact]
    public async Task Several_layers_are_fetched_at_once_but_no_more_than_a_line_bears()
    {
        const int AtOnce = Hypervisor.Server.Limits.Registries.ParallelLayers;
        AddLayers("library/app", "1", [.. Enumerable.Range(0, 2 * AtOnce).Select(index => new TarBuilder().File($"file-{index}", "x").ToArray())]);
        var together = 0;
        var most = 0;
        var all = new TaskCompletionSource();
        _registry.Misbehave = async context =>
        {
            var path = context.Request.Path.Value!;
            if (!path.Contains("/blobs/", StringComparison.Ordinal) || !_registry.Blobs[path.Split('/')[^1]].AsSpan().StartsWith("file-"u8))
            {
                return false;
            }

            // None is answered before as many are under way as may be.
            var now = Interlocked.Increment(ref together);
            InterlockedMax(ref most, now);
            if (now == AtOnce)
            {
                all.TrySetResult();
            }

            await all.Task.WaitAsync(TimeSpan.FromSeconds(10));
            Interlocked.Decrement(ref together);
            return false;
        };
        await PullAsync("app:1");
        Assert.Equal(AtOnce, most);
    }

    [Fact]
    public async Task A_pull_that_nobody_waits_for_any_more_ends_and_may_be_begun_anew()
    {
        AddImage("library/app", "1");
        var held = new TaskCompletionSource();
        var asked = new TaskCompletionSource();
        _registry.Misbehave = async context =>
        {
            asked.TrySetResult();
            await held.Task;
            return false;
        };
        using var client = new CancellationTokenSource();
        var pulling = _pulls.PullAsync(new PullImageRequest { Image = "app:1" }, _ => Task.CompletedTask, client.Token);
        await asked.Task.WaitAsync(Cancel);
        await client.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pulling);
        held.SetResult();
        await PullAsync("app:1");
        Assert.True((await RecordAsync("app:1"))!.Stored);
    }

    private static ImageDigest Parsed(string digest) => ImageDigest.TryParse(digest, out var parsed) ? parsed : throw new InvalidOperationException(digest);

    private static byte[] Index(params (string Digest, string Architecture)[] entries) => Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{string.Join(',', entries.Select(entry => $$$"""{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{{entry.Digest}}}","size":1,"platform":{"os":"linux","architecture":"{{{entry.Architecture}}}"}}"""))}}]}""");

    private byte[] ManifestOf(byte[] config, string layer)
    {
        _registry.AddBlob(config);
        return ImageArchives.Manifest(config, _registry.Blobs[layer], _registry.Blobs[layer][0] == 0x1F ? "gzip" : "plain");
    }

    private string AddImage(string repository, string tag, string variant = "")
    {
        var layer = new TarBuilder().File("variant", variant + tag).ToArray();
        return AddLayer(repository, tag, layer);
    }

    private string AddLayer(string repository, string tag, byte[] layer, byte[]? packed = null, byte[]? config = null) =>
        _registry.AddManifest(repository, tag, ManifestOf(config ?? ImageArchives.Config(layer), _registry.AddBlob(packed ?? layer)));

    private string AddLayers(string repository, string tag, params byte[][] layers)
    {
        var diffIds = string.Join(',', layers.Select(layer => $"\"{RegistryClient.DigestOf(layer)}\""));
        var config = _registry.AddBlob(Encoding.UTF8.GetBytes(
            $$"""{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[{{diffIds}}]} }"""));
        var described = layers.Select(layer => $$"""{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{{_registry.AddBlob(layer)}}","size":{{layer.Length}} }""");
        var list = string.Join(',', described);
        return _registry.AddManifest(repository, tag, Encoding.UTF8.GetBytes(
            $$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{config}}","size":{{_registry.Blobs[config].Length}} },"layers":[{{list}}]}"""));
    }

    private static void InterlockedMax(ref int most, int value)
    {
        for (var seen = Volatile.Read(ref most); seen < value; seen = Volatile.Read(ref most))
        {
            Interlocked.CompareExchange(ref most, value, seen);
        }
    }

    private ImagePulls PullsWithin(ImagesConfiguration limits) =>
        new(_plane.Reads, _blobs, _resolution, _remote, _registries, _client, limits, RealClock.Instance);

    private Task<ResolveImageResponse> ResolveAsync(string image, ImagePullPolicy policy = default, string digest = "") =>
        _resolution.ResolveAsync(new ResolveImageRequest { Image = image, PullPolicy = policy, Digest = digest }, Cancel);

    private Task PullAsync(string image, ImagePulls? pulls = null) => (pulls ?? _pulls).PullAsync(
        new PullImageRequest { Image = image }, _ => Task.CompletedTask, Cancel);

    private async Task<ImageEntry?> EntryAsync(string image) => (await _plane.Reads.ViewAsync(Consistency.Linearizable, Cancel)).Image("default", image);

    private async Task<Image?> RecordAsync(string image) => (await EntryAsync(image))?.Record.Image;

    private static async Task<StatusCode> RefusalAsync(Func<Task> call) => (await Assert.ThrowsAsync<RpcException>(call)).StatusCode;
}
