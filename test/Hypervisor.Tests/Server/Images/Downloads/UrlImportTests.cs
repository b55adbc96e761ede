using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Downloads;
using Hypervisor.Tests.Server.Images.Disks;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Hypervisor.Tests.Server.Images.Downloads;

/// <summary>
/// Protects: a URL that a user writes lends nobody the server's place in the network, whatever it redirects to, and brings what its
/// checksum says or nothing (HostConfined).
/// </summary>
public sealed class UrlImportTests : IAsyncLifetime
{
    private readonly byte[] _disk = DiskFiles.Qcow2();
    private CatalogueWorld _world = null!;
    private FileServer _named = null!;
    private FileServer _inside = null!;
    private ImageDownloads _downloads = null!;
    private UrlImports _imports = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _world = await CatalogueWorld.StartAsync(new ImagesConfiguration { MaxArchiveBytes = 1 << 20 });
        (_named, _inside) = (await FileServer.StartAsync(), await FileServer.StartAsync());
        _downloads = new ImageDownloads([new RegistryHost(_named.Authority) { Trusted = true }], RealClock.Instance);
        _imports = new UrlImports(_world.Catalogue, _downloads, _world.Blobs, _world.Limits, RealClock.Instance);
        _named.AddFile("/disk", _disk);
        _inside.AddFile("/disk", _disk);
        _inside.AddFile("/secret", "secret"u8.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        _downloads.Dispose();
        await _named.DisposeAsync();
        await _inside.DisposeAsync();
        await _world.DisposeAsync();
    }

    [Fact]
    public async Task A_disk_is_fetched_with_progress_and_stored()
    {
        List<ImportImageFromUrlResponse> reports = [];
        await _imports.ImportAsync(Request(_named["/disk"].ToString()), report =>
        {
            reports.Add(report);
            return Task.CompletedTask;
        }, Cancel);

        var image = reports[^1].Image;
        Assert.Equal(("disk:1", ImageFormat.Qcow2, "", true), (image.Metadata.Name, image.Format, image.Source, image.Stored));
        Assert.Equal((_disk.Length, _disk.Length), (reports[^1].BytesDone, reports[^1].BytesTotal));
        Assert.All(reports.SkipLast(1), report => Assert.Null(report.Image));
        Assert.Equal(3, _world.Files.Count);
    }

    [Fact]
    public async Task Addresses_inside_are_not_asked_however_they_are_spelled()
    {
        foreach (var host in (string[])["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "0.0.0.0"])
        {
            var refusal = await RefusalAsync(Request($"http://{host}:{_inside.Port}/secret"));
            Assert.True(refusal.StatusCode == StatusCode.FailedPrecondition, $"{host}: {refusal.Status}");
            Assert.Contains("images.import_hosts", refusal.Status.Detail, StringComparison.Ordinal);
        }

        Assert.Equal(StatusCode.FailedPrecondition, (await RefusalAsync(Request("http://169.254.169.254/latest/meta-data"))).StatusCode);
        Assert.Empty(_inside.Requests);
    }

    [Theory]
    [InlineData("file:///etc/passwd")]
    [InlineData("ftp://127.0.0.1/disk")]
    [InlineData("/etc/passwd")]
    [InlineData("http://user:pass@127.0.0.1/disk")]
    [InlineData("http://")]
    [InlineData("http://a b/")]
    [InlineData("http://host/\r\nX: y")]
    [InlineData("unix:/run/docker.sock")]
    [InlineData("")]
    public async Task Only_web_addresses_are_taken(string url)
    {
        var refusal = await RefusalAsync(Request(url));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains("web address", refusal.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redirect_gets_nowhere_where_its_user_could_not()
    {
        foreach (var target in (string[])
            [_inside["/secret"].ToString(), $"http://localhost:{_inside.Port}/secret", $"http://[::ffff:7f00:1]:{_inside.Port}/secret", "http://169.254.169.254/", "file:///etc/passwd", "gopher://x/", "http://user@127.0.0.1/"])
        {
            _named.AddRedirect("/away", target);
            Assert.Equal(StatusCode.FailedPrecondition, (await RefusalAsync(Request(_named["/away"].ToString()))).StatusCode);
        }

        _named.AddRedirect("/round", "/round");
        Assert.Equal(StatusCode.DataLoss, (await RefusalAsync(Request(_named["/round"].ToString()))).StatusCode);
        Assert.Empty(_inside.Requests);

        _named.AddRedirect("/away", "/disk");
        await ImportAsync(Request(_named["/away"].ToString()));
    }

    [Fact]
    public async Task A_wrong_checksum_leaves_nothing_and_none_at_all_is_not_enough()
    {
        var wrong = Request(_named["/disk"].ToString());
        wrong.Image.Checksum = "sha256:" + new string('0', 64);
        var refusal = await RefusalAsync(wrong);
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains("not sha256:000", refusal.Status.Detail, StringComparison.Ordinal);

        wrong.Image.Checksum = "";
        Assert.Contains("is required", (await RefusalAsync(wrong)).Status.Detail, StringComparison.Ordinal);
        Assert.Empty(_world.Files);
    }

    [Fact]
    public async Task What_is_too_large_is_refused_before_it_is_read_or_when_it_shows()
    {
        _named.Answers["/announced"] = context =>
        {
            context.Response.ContentLength = 1L << 40;
            return context.Response.StartAsync();
        };
        Assert.Contains("1099511627776 bytes", (await RefusalAsync(Request(_named["/announced"].ToString()))).Status.Detail, StringComparison.Ordinal);

        _named.Answers["/endless"] = async context =>
        {
            await context.Response.Body.WriteAsync(_disk);
            var more = new byte[64 * 1024];
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(more);
            }
        };
        Assert.Contains("larger than", (await RefusalAsync(Request(_named["/endless"].ToString()))).Status.Detail, StringComparison.Ordinal);
        Assert.Empty(_world.Files);
    }

    [Fact]
    public async Task A_transfer_that_was_cut_goes_on_where_it_was()
    {
        var cut = 0;
        _named.Answers["/cut"] = async context =>
        {
            if (cut++ > 0)
            {
                await Results.Bytes(_disk, enableRangeProcessing: true).ExecuteAsync(context);
                return;
            }

            context.Response.ContentLength = _disk.Length;
            await context.Response.Body.WriteAsync(_disk.AsMemory(0, 100_000));
            await context.Response.Body.FlushAsync();
            context.Abort();
        };

        await ImportAsync(Request(_named["/cut"].ToString()));
        Assert.Equal(2, cut);
        Assert.StartsWith("bytes=", _named.Requests.Last().Range, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(404, StatusCode.NotFound)]
    [InlineData(403, StatusCode.PermissionDenied)]
    [InlineData(418, StatusCode.DataLoss)]
    public async Task What_the_other_side_answers_is_said(int status, StatusCode expected)
    {
        _named.Answers["/no"] = context =>
        {
            context.Response.StatusCode = status;
            return Task.CompletedTask;
        };

        Assert.Equal(expected, (await RefusalAsync(Request(_named["/no"].ToString()))).StatusCode);
    }

    [Fact]
    public async Task An_import_ends_with_its_listener()
    {
        var asked = new TaskCompletionSource();
        var ended = new TaskCompletionSource();
        _named.Answers["/slow"] = async context =>
        {
            await context.Response.StartAsync();
            asked.SetResult();
            context.RequestAborted.Register(ended.SetResult);
            await ended.Task;
        };
        using var client = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var importing = _imports.ImportAsync(Request(_named["/slow"].ToString()), _ => Task.CompletedTask, client.Token);
        await asked.Task.WaitAsync(TimeSpan.FromSeconds(30), RealClock.Instance, Cancel);
        await client.CancelAsync();

        await Assert.ThrowsAnyAsync<Exception>(() => importing);
        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), RealClock.Instance, Cancel);
        Assert.Empty(_world.Files);
    }

    private ImportImageFromUrlRequest Request(string url) => new()
    {
        Url = url,
        Image = new ImportImageHeader { Name = "disk:1", Format = ImageFormat.Qcow2, Checksum = ImageArchives.DigestOf(_disk) },
    };

    private Task ImportAsync(ImportImageFromUrlRequest request) => _imports.ImportAsync(request, _ => Task.CompletedTask, Cancel);

    private Task<RpcException> RefusalAsync(ImportImageFromUrlRequest request) => Assert.ThrowsAsync<RpcException>(() => ImportAsync(request));
}
