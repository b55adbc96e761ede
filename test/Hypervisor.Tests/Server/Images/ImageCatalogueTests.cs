using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Tests.Server.State;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Images;

/// <summary>
/// Protects: an image that a record or an instance names can be fetched; what nobody names is removed (NoOrphans,
/// IdempotentOnce).
/// </summary>
public sealed class ImageCatalogueTests : IAsyncLifetime
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("catalogue-");
    private ControlPlane _plane = null!;
    private BlobStore _blobs = null!;
    private ImageCollector _collector = null!;
    private ImageCatalogue _catalogue = null!;
    private readonly List<ImageRecords> _records = [];

    public async ValueTask InitializeAsync()
    {
        _plane = await ControlPlane.StartAsync(CancellationToken.None);
        _blobs = BlobStore.Open(_directory.FullName);
        _collector = new ImageCollector(_plane.State, _blobs, _plane.Time, NullLogger<ImageCollector>.Instance);
        _catalogue = CatalogueOver(_plane.Writer);
    }

    public async ValueTask DisposeAsync()
    {
        _catalogue.Dispose();
        _records.ForEach(records => records.Dispose());
        await _plane.DisposeAsync();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task An_import_can_be_listed_resolved_and_fetched()
    {
        var image = await Import("box", "r1");

        Assert.Equal(("box:latest", "default", 1L), (image.Metadata.Name, image.Metadata.Project, image.Metadata.Generation));
        Assert.Equal(["sh"], image.DefaultCommand);
        Assert.Equal([image], (await _catalogue.ListAsync(new ListImagesRequest(), CancellationToken.None)).Images);
        Assert.Equal(image.Digest, await Resolve("box"));
        await using var blob = _catalogue.Fetch(image.Digest, 1);
        Assert.Equal(1, blob.Position);
    }

    [Fact]
    public async Task Importing_the_same_again_changes_nothing_and_other_content_takes_the_name()
    {
        var first = await Import("box", "r1");
        Assert.Equal(first, await Import("box", "r1"));
        Assert.Equal(first, await Import("box", "r2"));

        var second = await Import("box", "r3", Other);

        Assert.Equal(first.Metadata.Uid, second.Metadata.Uid);
        Assert.Equal(2, second.Metadata.Generation);
        Assert.NotEqual(first.Digest, second.Digest);
        Assert.Equal(StatusCode.AlreadyExists, await Refusal(() => Import("box", "r3")));
    }

    [Fact]
    public async Task An_image_in_use_is_kept_and_its_users_are_named()
    {
        await Import("box", "");
        await CreateInstance("web", "box");

        var exception = await Assert.ThrowsAsync<RpcException>(() => Delete("box:latest", ""));

        Assert.Equal(StatusCode.FailedPrecondition, exception.StatusCode);
        Assert.Contains("web", exception.Status.Detail);
    }

    [Fact]
    public async Task A_deletion_frees_the_disk_and_may_be_repeated()
    {
        await Import("box", "");
        await Delete("box", "d1");
        await Delete("box", "d1");

        Assert.Empty(Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories));
        Assert.Equal(StatusCode.NotFound, await Refusal(() => Delete("box", "d2")));
        Assert.Equal("", await Resolve("box"));
    }

    [Fact]
    public async Task What_an_instance_was_created_with_outlives_the_name()
    {
        var first = await Import("box", "");
        await CreateInstance("web", "box", first.Digest);
        await Import("box", "", Other);
        await Import("gone", "", new TarBuilder().File("third", "x").ToArray());
        await Delete("gone", "");

        await using var manifest = _catalogue.Fetch(first.Digest, 0);
        await using var layer = _catalogue.Fetch(ImageArchives.DigestOf(ImageArchives.Layer), 0);
        Assert.Equal(6, Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories).Count());
    }

    [Fact]
    public async Task An_import_whose_client_leaves_while_its_record_is_written_keeps_its_blobs()
    {
        var store = new FaultyStore(_plane.Store);
        var writing = new TaskCompletionSource();
        store.WritesHeld = writing.Task;
        await using var writer = new StoreWriter(store);
        using var catalogue = CatalogueOver(writer);
        using var client = new CancellationTokenSource();
        var importing = ImportInto(catalogue, client.Token);
        await store.WriteArrived.WaitAsync(TestContext.Current.CancellationToken);

        await client.CancelAsync();
        _collector.Collect();
        writing.SetResult();
        var image = await importing;

        Assert.Equal(image.Digest, await Resolve("box"));
        await using var manifest = _catalogue.Fetch(image.Digest, 0);
        await using var layer = _catalogue.Fetch(ImageArchives.DigestOf(ImageArchives.Layer), 0);
    }

    [Fact]
    public async Task Blobs_of_a_record_that_may_have_been_written_stay_until_the_view_must_show_it()
    {
        var store = new FaultyStore(_plane.Store) { FailWrites = new StoreUnavailableException("Away.") };
        await using var writer = new StoreWriter(store);
        using var catalogue = CatalogueOver(writer);
        await Assert.ThrowsAsync<StoreUnavailableException>(() => ImportInto(catalogue, CancellationToken.None));

        _plane.Time.Advance(Hypervisor.Server.Limits.Images.UncertainLease);
        _collector.Collect();
        Assert.Equal(3, Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories).Count());

        await _plane.ViewAsync(CancellationToken.None);
        _plane.Time.Advance(Hypervisor.Server.Limits.Images.UncertainLease / 2);
        await _plane.ViewAsync(CancellationToken.None);
        _plane.Time.Advance(Hypervisor.Server.Limits.Images.UncertainLease / 2);
        _collector.Collect();
        Assert.Empty(Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public void Leftovers_of_a_crash_are_removed_at_start()
    {
        var leftover = Path.Combine(_directory.FullName, "images/blobs/sha256/tmp-7");
        File.WriteAllText(leftover, "half");

        BlobStore.Open(_directory.FullName);

        Assert.False(File.Exists(leftover));
    }

    [Fact]
    public void A_link_in_place_of_a_blob_is_not_followed()
    {
        var canary = Path.Combine(_directory.FullName, "canary");
        File.WriteAllText(canary, "secret");
        var digest = "sha256:" + new string('a', 64);
        File.CreateSymbolicLink(Path.Combine(_directory.FullName, "images/blobs/sha256", digest[7..]), canary);

        Assert.Throws<IOException>(() => _catalogue.Fetch(digest, 0));
    }

    [Theory]
    [InlineData("a//b")]
    [InlineData("Box")]
    [InlineData("--x")]
    public async Task A_bad_name_is_a_field_violation(string name) =>
        Assert.Equal(StatusCode.InvalidArgument, await Refusal(() => Import(name, "")));

    [Fact]
    public async Task A_bad_archive_is_a_field_violation_that_says_why()
    {
        var pieces = ArchiveImporterTests.Pieces(new TarBuilder().File("../x", "").ToArray());
        var exception = await Assert.ThrowsAsync<RpcException>(
            () => _catalogue.ImportAsync(new ImportImageHeader { Name = "box" }, pieces, CancellationToken.None));

        Assert.Equal(StatusCode.InvalidArgument, exception.StatusCode);
        Assert.Contains("../x", exception.Status.Detail);
    }

    private static byte[] Other { get; } = new TarBuilder().File("other", "x").ToArray();

    private ImageCatalogue CatalogueOver(StoreWriter writer) =>
        new(_plane.Reads, writer, _blobs, _collector, RecordsOver(writer), new ImagesConfiguration(), _plane.Time);

    private ImageRecords RecordsOver(StoreWriter writer)
    {
        var records = new ImageRecords(_plane.State, _plane.Reads, writer, _blobs, _plane.Time, _plane.Random);
        _records.Add(records);
        return records;
    }

    /// <summary>Of an image that is in the catalogue.</summary>
    private async Task<string> Resolve(string name) =>
        (await _plane.Reads.ViewAsync(Consistency.Linearizable, CancellationToken.None)).Image("default", name + ":latest")?.Record.Image.Digest ?? "";

    private static Task<Image> ImportInto(ImageCatalogue catalogue, CancellationToken cancellationToken) => catalogue.ImportAsync(
        new ImportImageHeader { Name = "box" }, ArchiveImporterTests.Pieces(ImageArchives.DockerSave(ImageArchives.Layer)), cancellationToken);

    private Task<Image> Import(string name, string requestId, byte[]? layer = null) => _catalogue.ImportAsync(
        new ImportImageHeader { Name = name, RequestId = requestId }, ArchiveImporterTests.Pieces(ImageArchives.DockerSave(layer ?? ImageArchives.Layer)), CancellationToken.None);

    private Task<DeleteImageResponse> Delete(string name, string requestId) =>
        _catalogue.DeleteAsync(new DeleteImageRequest { Image = name, RequestId = requestId }, CancellationToken.None);

    private async Task CreateInstance(string name, string image, string digest = "")
    {
        var record = new InstanceSpecRecord
        {
            Metadata = new ObjectMeta { Uid = "u-" + name, Name = name, Project = "default", Generation = 1 },
            Spec = new InstanceSpec { Image = image, ImageDigest = digest },
        };
        var written = await _plane.Writer.WriteAsync(
            new([], [new StoreOperation.Put(Keys.Spec("default", name), record.ToByteArray())]), CancellationToken.None);
        await _plane.Reads.IncludingAsync(written.Revision, CancellationToken.None);
    }

    private static async Task<StatusCode> Refusal(Func<Task> call) => (await Assert.ThrowsAsync<RpcException>(call)).StatusCode;
}
