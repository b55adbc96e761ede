using System.Text;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Images;

/// <summary>
/// Protects: only wholly verified images enter the store, and no archive makes the server write outside it (HostConfined).
/// </summary>
public sealed class ArchiveImporterTests : IDisposable
{
    private readonly DirectoryInfo _parent = Directory.CreateTempSubdirectory("images-");
    private readonly BlobStore _blobs;

    public ArchiveImporterTests() => _blobs = BlobStore.Open(_parent.CreateSubdirectory("data").FullName);

    public void Dispose() => _parent.Delete(recursive: true);

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Every_good_format_brings_the_same_layers(string format, string layer, string outer)
    {
        var archive = format switch
        {
            "docker" => ImageArchives.DockerSave(ImageArchives.Layer, compression: layer),
            "oci" => ImageArchives.Oci(ImageArchives.Layer, compression: layer),
            _ => ImageArchives.Oci(ImageArchives.Layer, compression: layer, alsoDocker: true),
        };

        var image = await Import(ImageArchives.Pack(archive, outer));

        Assert.Equal([ImageArchives.DigestOf(ImageArchives.Layer)], image.Config.Rootfs!.DiffIds!);
        Assert.Equal("box:1", image.Name.ToString());
        Assert.Equal(3, image.Blobs.Count);
        Assert.All(image.Blobs, digest => Assert.NotNull(_blobs.SizeOf(digest)));
        Assert.Equal(image.SizeBytes, image.Blobs.Sum(digest => _blobs.SizeOf(digest)));
        // The same image has the same manifest, from wherever it comes.
        Assert.Equal(image.Digest, (await Import(ImageArchives.Oci(ImageArchives.Layer, compression: layer))).Digest);
    }

    [Fact]
    public async Task An_upload_of_empty_pieces_is_given_up_like_a_silent_one()
    {
        var time = new FakeTimeProvider();
        await using var upload = new UploadStream(EmptyPieces(time).GetAsyncEnumerator(TestContext.Current.CancellationToken), 1024, time);

        var refused = await Assert.ThrowsAsync<InvalidImageException>(async () =>
            await upload.ReadExactlyAsync(new byte[16], TestContext.Current.CancellationToken));

        Assert.Contains("nothing arrived", refused.Message, StringComparison.Ordinal);

        static async IAsyncEnumerable<ReadOnlyMemory<byte>> EmptyPieces(FakeTimeProvider time)
        {
            while (true)
            {
                await Task.CompletedTask;
                time.Advance(TimeSpan.FromSeconds(1));
                yield return ReadOnlyMemory<byte>.Empty;
            }
        }
    }

    [Fact]
    public void A_layer_is_checked_no_further_once_the_import_is_cancelled()
    {
        var path = Path.Combine(_parent.FullName, "layer");
        File.WriteAllBytes(path, ImageArchives.Layer);
        using var file = File.OpenRead(path);
        using var cancelled = new CancellationTokenSource();
        using var layer = new BoundedStream(file, 0, file.Length, cancelled.Token);
        var allowance = long.MaxValue;
        LayerChecker.Check(layer, CompressionKind.None, "The layer", ref allowance);
        layer.Rewind();
        cancelled.Cancel();

        Assert.Throws<OperationCanceledException>(() => LayerChecker.Check(layer, CompressionKind.None, "The layer", ref allowance));
    }

    [Fact]
    public async Task A_layer_that_is_a_link_to_another_in_the_archive_is_found()
    {
        var config = ImageArchives.Config(ImageArchives.Layer);
        var archive = new TarBuilder().File("a/layer.tar", ImageArchives.Layer).Link("b/layer.tar", "../a/layer.tar").File("c.json", config)
            .File("manifest.json", """[{"Config":"c.json","RepoTags":null,"Layers":["b/layer.tar"]}]""").ToArray();

        Assert.Null((await Import(archive)).Name);
    }

    [Fact]
    public async Task A_nested_index_is_searched_for_the_platform_of_the_nodes()
    {
        var config = ImageArchives.Config(ImageArchives.Layer);
        var manifest = ImageArchives.Manifest(config, ImageArchives.Layer, "plain");
        var inner = Encoding.UTF8.GetBytes(ImageArchives.Index(manifest, ""","platform":{"architecture":"amd64","os":"linux"}"""));
        var outer = $$$"""{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{{{new string('0', 64)}}}","size":1,"platform":{"architecture":"arm64","os":"linux"}},{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{{{ImageArchives.DigestOf(inner)}}}","size":{{{inner.Length}}}}]}""";
        var archive = new TarBuilder().Raw(new TarBuilder().File($"blobs/sha256/{ImageArchives.Hex(inner)}", inner).Unended())
            .Raw(ImageArchives.Oci(ImageArchives.Layer, indexJson: outer)).ToArray();

        Assert.Equal(ImageArchives.DigestOf(manifest), (await Import(archive)).Digest.Value);
    }

    public static TheoryData<string, byte[], string> HostileArchives => new()
    {
        { "parent", new TarBuilder().File("../escape", "x").ToArray(), "Archive entry \"../escape\" leads out of the archive" },
        { "inner parent", new TarBuilder().File("a/../../escape", "x").ToArray(), "leads out of the archive" },
        { "absolute", new TarBuilder().File("/etc/escape", "x").ToArray(), "Archive entry \"/etc/escape\" has an absolute path" },
        { "symlink up", new TarBuilder().Link("a/b", "../../escape").ToArray(), "Link \"a/b\" points out of the archive" },
        { "symlink absolute", new TarBuilder().Link("a", "/etc/passwd").ToArray(), "Link \"a\" points out of the archive" },
        { "symlink circle", new TarBuilder().Link("manifest.json", "b").Link("b", "manifest.json").ToArray(), "leads in circles" },
        { "symlink to nothing", new TarBuilder().Link("manifest.json", "b").ToArray(), "which is not in the archive" },
        { "hard link", new TarBuilder().File("a", "x").Link("b", "a", '1').ToArray(), "Archive entry \"b\" is a hard link" },
        { "device", new TarBuilder().Device("sda", '4', 8, 0).ToArray(), "Archive entry \"sda\" is a device" },
        { "pipe", new TarBuilder().Entry("p", '6').ToArray(), "Archive entry \"p\" is a pipe" },
        { "duplicate", new TarBuilder().File("a", "x").File("./a", "y").ToArray(), "Archive entry \"./a\" occurs twice" },
        { "pax path", new TarBuilder().Pax(("path", "../escape")).File("fine", "x").ToArray(), "Archive entry \"../escape\" leads out" },
        { "pax link", new TarBuilder().Pax(("linkpath", "/etc/passwd")).Link("a", "fine").ToArray(), "points out of the archive" },
        { "pax twice", new TarBuilder().Pax(("path", "a")).Pax(("path", "b")).File("c", "x").ToArray(), "describes one entry twice" },
        { "pax key twice", new TarBuilder().Pax(("path", "a"), ("path", "b")).File("c", "x").ToArray(), "twice for one entry" },
        { "pax and gnu", new TarBuilder().Entry("l", 'L', "a\0"u8.ToArray()).Pax(("path", "b")).File("c", "x").ToArray(), "names one entry twice" },
        { "pax NUL", new TarBuilder().Pax(("path", "a\0b")).File("c", "x").ToArray(), "has a NUL" },
        { "pax malformed", new TarBuilder().Entry("p", 'x', "99 path=a\n"u8.ToArray()).File("c", "x").ToArray(), "malformed pax record" },
        { "pax size", new TarBuilder().Pax(("size", "-1")).File("c", "x").ToArray(), "invalid pax size" },
        { "pax global path", new TarBuilder().Entry("g", 'g', TarBuilder.Records(("path", "x"))).File("c", "x").ToArray(), "for all entries at once" },
        { "pax huge", new TarBuilder().Entry("p", 'x', [], size: 4L << 30).ToArray(), "extended header of 4294967296 bytes" },
        { "pax at end", new TarBuilder().Pax(("path", "a")).Unended(), "ends after an extended header" },
        { "sparse", new TarBuilder().Pax(("GNU.sparse.major", "1")).File("c", "x").ToArray(), "sparse" },
        { "gnu sparse", new TarBuilder().Entry("s", 'S').ToArray(), "unsupported type" },
        { "link with data", new TarBuilder().Entry("l", '2', "x"u8.ToArray(), link: "a").ToArray(), "which is no file" },
        { "bad checksum", [.. "not a tar"u8, .. new byte[1024]], "checksum is wrong" },
        { "cut in data", new TarBuilder().Entry("a", '0', "x"u8.ToArray(), size: 1 << 20).Unended(), "ends in the middle of an entry" },
        { "hole", new TarBuilder().Raw(new byte[512]).File("a", "x").ToArray(), "empty header in its middle" },
        { "long name", new TarBuilder().Pax(("path", new string('a', 5000))).File("c", "x").ToArray(), "longer than 4095 bytes" },
        { "terminal", new TarBuilder().File("/\u001b[31m", "x").ToArray(), "\\u001b[31m" },
        { "empty", [], "The archive is empty" },
        { "no image", new TarBuilder().File("a", "x").ToArray(), "neither an OCI layout" },
        { "broken gzip", [0x1F, 0x8B, 1, 2, 3, 4], "compression is damaged" },
        { "broken zstd", [0x28, 0xB5, 0x2F, 0xFD, 1, 2, 3, 4], "compression is damaged" },
        { "gzip bomb", ImageArchives.Gzip(new byte[80 << 20]), "decompression bomb" },
        { "zstd bomb", ImageArchives.Zstd(new byte[80 << 20]), "decompression bomb" },
        { "huge manifest", new TarBuilder().File("manifest.json", new byte[5 << 20]).ToArray(), "are read" },
        { "deep json", new TarBuilder().File("manifest.json", new string('[', 10_000)).ToArray(), "manifest.json cannot be read" },
        { "manifest escape", new TarBuilder().File("manifest.json", """[{"Config":"../../etc/passwd","Layers":[]}]""").ToArray(), "leads out of the archive" },
        { "missing layer", new TarBuilder().File("c.json", "{}").File("manifest.json", """[{"Config":"c.json","Layers":["l"]}]""").ToArray(), "which is not in the archive" },
        { "several", new TarBuilder().File("c.json", "{}").File("manifest.json", """[{"Config":"c.json","RepoTags":["a:1"]},{"Config":"c.json","RepoTags":["b:1"]}]""").ToArray(), "has 2 images; name one of them: a:1, b:1" },
    };

    [Theory]
    [MemberData(nameof(HostileArchives))]
    public async Task A_hostile_archive_is_refused_and_leaves_nothing(string name, byte[] archive, string expected) =>
        await Refused(name, archive, expected);

    public static TheoryData<string, byte[], string> HostileLayers => new()
    {
        { "parent", new TarBuilder().File("a/../../x", "x").ToArray(), "entry \"a/../../x\" leads out" },
        { "absolute", new TarBuilder().File("/etc/x", "x").ToArray(), "has an absolute path" },
        { "hard link absolute", new TarBuilder().Link("a", "/etc/shadow", '1').ToArray(), "\"/etc/shadow\" has an absolute path" },
        { "hard link up", new TarBuilder().Link("a", "../../etc/shadow", '1').ToArray(), "leads out of the archive" },
        { "block device", new TarBuilder().Device("sda", '4', 8, 0).ToArray(), "is a device node" },
        { "char device", new TarBuilder().Device("mem", '3', 1, 1).ToArray(), "is a device node" },
        { "whiteout up", new TarBuilder().File("a/.wh...", "").ToArray(), "whiteout that leads out" },
        { "whiteout self", new TarBuilder().File("a/.wh..", "").ToArray(), "whiteout that leads out" },
        { "whiteout of nothing", new TarBuilder().File("a/.wh.", "").ToArray(), "whiteout that leads out" },
        { "not tar", Encoding.ASCII.GetBytes(new string('x', 1024)), "checksum is wrong" },
        { "bomb", new TarBuilder().File("zeros", new byte[80 << 20]).ToArray(), "decompression bomb" },
    };

    [Theory]
    [MemberData(nameof(HostileLayers))]
    public async Task A_hostile_layer_is_refused_and_leaves_nothing(string name, byte[] layer, string expected) =>
        await Refused(name, ImageArchives.Oci(layer, compression: "gzip"), expected);

    [Theory]
    [InlineData("""{"WorkingDir":"/proc/self/fd/8"}""", "WorkingDir is not allowed")]
    [InlineData("""{"WorkingDir":"relative"}""", "WorkingDir is not allowed")]
    [InlineData("""{"WorkingDir":"/a/../../b"}""", "WorkingDir is not allowed")]
    [InlineData("""{"Env":["novalue"]}""", "Env has the entry")]
    [InlineData("""{"Cmd":["a\u0000b"]}""", "Cmd has an entry")]
    [InlineData("""{"Entrypoint":[null]}""", "Entrypoint has an entry")]
    [InlineData("""{"User":"root\n"}""", "User is no user")]
    [InlineData("""{"StopSignal":"kill -9"}""", "StopSignal is no signal")]
    [InlineData("""{"ExposedPorts":{"99999/tcp":{}}}""", "ExposedPorts has the entry")]
    [InlineData("""{"Cmd":["a"],"Cmd":["b"]}""", "cannot be read")]
    public async Task A_hostile_configuration_is_refused(string process, string expected) =>
        await Refused(
            process, ImageArchives.DockerSave(ImageArchives.Layer, ImageArchives.Config(ImageArchives.Layer, process: process)), expected);

    [Fact]
    public async Task Content_that_is_not_what_its_digest_says_is_refused()
    {
        var other = new TarBuilder().File("other", "x").ToArray();
        await Refused("diff id", ImageArchives.DockerSave(other, ImageArchives.Config(ImageArchives.Layer)), "as the configuration says");

        var archive = ImageArchives.Oci(ImageArchives.Layer);
        var position = archive.AsSpan().IndexOf("binary"u8);
        archive[position] = (byte)'B';
        await Refused("layer", archive, "the archive is damaged");
    }

    [Fact]
    public async Task Another_platform_is_refused_by_name()
    {
        await Refused("docker", ImageArchives.DockerSave(ImageArchives.Layer, ImageArchives.Config(ImageArchives.Layer, "arm64")), "The image is for linux/arm64");
        var manifest = ImageArchives.Manifest(ImageArchives.Config(ImageArchives.Layer), ImageArchives.Layer, "plain");
        await Refused("index", ImageArchives.Oci(ImageArchives.Layer, indexJson: ImageArchives.Index(manifest, ""","platform":{"architecture":"arm64","os":"linux"}""")), "linux/arm64 only");
    }

    [Fact]
    public async Task A_layer_with_another_compression_than_promised_is_refused()
    {
        var config = ImageArchives.Config(ImageArchives.Layer);
        var packed = ImageArchives.Gzip(ImageArchives.Layer);
        var manifest = ImageArchives.Manifest(config, packed, "zstd");
        var archive = new TarBuilder().File("oci-layout", """{"imageLayoutVersion":"1.0.0"}""").File("index.json", ImageArchives.Index(manifest))
            .File($"blobs/sha256/{ImageArchives.Hex(config)}", config).File($"blobs/sha256/{ImageArchives.Hex(packed)}", packed).File($"blobs/sha256/{ImageArchives.Hex(manifest)}", manifest).ToArray();

        await Refused("mismatch", archive, "compressed as Gzip, not Zstd");
    }

    [Fact]
    public async Task The_configured_bounds_hold()
    {
        var archive = ImageArchives.DockerSave(ImageArchives.Layer);
        await Refused("upload", archive, "images.max_archive_size", new() { MaxArchiveBytes = 1000 });
        await Refused("spool", ImageArchives.Gzip(archive), "images.max_unpacked_size", new() { MaxUnpackedBytes = 1000 });
    }

    [Fact]
    public async Task An_upload_that_stalls_is_given_up()
    {
        var time = new FakeTimeProvider();
        using var lease = _blobs.Lease();
        var import = new ArchiveImporter(_blobs, new ImagesConfiguration(), time).ImportAsync(Stalled(), null, lease, CancellationToken.None);
        await time.AdvanceUntilAsync(import, TimeSpan.FromSeconds(61));

        Assert.Contains("The upload stopped", (await Assert.ThrowsAsync<InvalidImageException>(() => import)).Message);

        static async IAsyncEnumerable<ReadOnlyMemory<byte>> Stalled()
        {
            await new TaskCompletionSource().Task;
            yield break;
        }
    }

    private async Task Refused(string name, byte[] archive, string expected, ImagesConfiguration? limits = null)
    {
        var exception = await Assert.ThrowsAsync<InvalidImageException>(() => Import(archive, limits));

        Assert.True(exception.Message.Contains(expected, StringComparison.Ordinal), $"{name}: {exception.Message}");
        Assert.DoesNotContain(exception.Message, char.IsControl);
        Assert.Equal(["data"], _parent.EnumerateFileSystemInfos().Select(entry => entry.Name));
        _blobs.Collect(() => new HashSet<string>());
        Assert.Empty(Directory.EnumerateFiles(_parent.FullName, "*", SearchOption.AllDirectories));
    }

    private async Task<VerifiedImage> Import(byte[] archive, ImagesConfiguration? limits = null)
    {
        using var lease = _blobs.Lease();
        return await new ArchiveImporter(_blobs, limits ?? new ImagesConfiguration(), new FakeTimeProvider()).ImportAsync(Pieces(archive), null, lease, CancellationToken.None);
    }

    internal static async IAsyncEnumerable<ReadOnlyMemory<byte>> Pieces(byte[] archive)
    {
        for (var offset = 0; offset < archive.Length; offset += 65_521)
        {
            await Task.CompletedTask;
            yield return archive.AsMemory(offset, Math.Min(65_521, archive.Length - offset));
        }
    }

    public static TheoryData<string, string, string> Formats()
    {
        var data = new TheoryData<string, string, string>();
        foreach (var format in (string[])["docker", "oci", "both"])
        {
            foreach (var layer in (string[])["plain", "gzip", "zstd"])
            {
                foreach (var outer in (string[])["plain", "gzip", "zstd"])
                {
                    data.Add(format, layer, outer);
                }
            }
        }

        return data;
    }
}
