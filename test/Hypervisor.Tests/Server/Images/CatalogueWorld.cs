using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Blobs;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Tests.Server.Images;

/// <summary>A catalogue over a folder of its own, and what is left there.</summary>
internal sealed class CatalogueWorld : IAsyncDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("images-");
    private readonly ImageCollector _collector;

    private CatalogueWorld(ControlPlane plane, ImagesConfiguration limits)
    {
        (Plane, Limits) = (plane, limits);
        Blobs = BlobStore.Open(_directory.FullName);
        Records = new ImageRecords(plane.State, plane.Reads, plane.Writer, Blobs, plane.Time, plane.Random);
        _collector = new ImageCollector(plane.State, Blobs, plane.Time, NullLogger<ImageCollector>.Instance);
        Catalogue = new ImageCatalogue(plane.Reads, plane.Writer, Blobs, _collector, Records, limits, plane.Time);
    }

    public ControlPlane Plane { get; }

    public ImagesConfiguration Limits { get; }

    public BlobStore Blobs { get; }

    public ImageRecords Records { get; }

    public ImageCatalogue Catalogue { get; }

    public string Folder => _directory.FullName;

    /// <summary>Every file that is kept.</summary>
    public IReadOnlyList<string> Files => [.. Directory.EnumerateFiles(_directory.FullName, "*", SearchOption.AllDirectories)];

    public static async Task<CatalogueWorld> StartAsync(ImagesConfiguration? limits = null) =>
        new(await ControlPlane.StartAsync(CancellationToken.None), limits ?? new ImagesConfiguration());

    public Task<Image> ImportAsync(byte[] content, ImportImageHeader header)
    {
        header.Name = header.Name.Length == 0 ? "disk:1" : header.Name;
        return Catalogue.ImportAsync(header, ArchiveImporterTests.Pieces(content), CancellationToken.None);
    }

    public Task<Image> ImportAsync(byte[] content, ImageFormat format) => ImportAsync(content, new ImportImageHeader { Format = format });

    /// <summary>What an import is refused with; nothing of it is left.</summary>
    public async Task<string> RefusalAsync(byte[] content, ImportImageHeader header)
    {
        var before = Files;
        var exception = await Xunit.Assert.ThrowsAsync<RpcException>(() => ImportAsync(content, header));
        Xunit.Assert.Equal(StatusCode.InvalidArgument, exception.StatusCode);
        Xunit.Assert.DoesNotContain(exception.Status.Detail, char.IsControl);
        Xunit.Assert.Equal(before, Files);
        return exception.Status.Detail;
    }

    public Task<string> RefusalAsync(byte[] content, ImageFormat format) => RefusalAsync(content, new ImportImageHeader { Format = format });

    public async ValueTask DisposeAsync()
    {
        Catalogue.Dispose();
        Records.Dispose();
        await Plane.DisposeAsync();
        _directory.Delete(recursive: true);
    }
}
