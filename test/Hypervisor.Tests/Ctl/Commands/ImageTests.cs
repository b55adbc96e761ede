using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: what is typed about an image is what the server is told, and what people see of it.</summary>
public sealed class ImageTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_disk_image_is_uploaded_with_all_that_is_said_of_it()
    {
        await using var server = await FakeServer.StartAsync();
        await File.WriteAllBytesAsync(_folder["disk.raw"], new byte[1536], TestContext.Current.CancellationToken);
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(
            server, "image", "import", _folder["disk.raw"], "--name", "disk:1", "--format", "raw", "--checksum", "sha256:ab", "--arch", "amd64", "--user", "debian",
            "--os", "linux", "--virtual-size", "2GiB"));

        var header = (ImportImageHeader)server.Compute.Requests.Single();
        Assert.Equal(
            (ImageFormat.Raw, "sha256:ab", "amd64", "debian", "linux", 2L << 30, 1536L),
            (header.Format, header.Checksum, header.Architecture, header.DefaultUser, header.OperatingSystem, header.VirtualSizeBytes, header.SizeBytes));
        Assert.Equal(1536, server.Compute.Imported.Length);
    }

    [Fact]
    public async Task A_kernel_set_is_one_stream_of_three_files()
    {
        await using var server = await FakeServer.StartAsync();
        foreach (var name in (string[])["vmlinuz", "initrd", "root"])
        {
            await File.WriteAllTextAsync(_folder[name], name, TestContext.Current.CancellationToken);
        }

        Assert.Equal(0, await new CtlRun().RunAsync(
            server, "image", "import", "--name", "set:1", "--rootfs", _folder["root"], "--kernel", _folder["vmlinuz"], "--initramfs", _folder["initrd"]));

        var header = (ImportImageHeader)server.Compute.Requests.Single();
        Assert.Equal((ImageFormat.Kernel, 17L), (header.Format, header.SizeBytes));
        Assert.Equal([(ImageFileRole.Kernel, 7L), (ImageFileRole.Initramfs, 6L), (ImageFileRole.Rootfs, 4L)], header.Files.Select(file => (file.Role, file.SizeBytes)));
        Assert.Equal("vmlinuzinitrdroot"u8, server.Compute.Imported);
    }

    [Fact]
    public async Task A_url_is_fetched_by_the_server_with_progress()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun { ErrorTerminal = true };

        Assert.Equal(0, await run.RunAsync(server, "image", "import", "https://images.example/disk.qcow2", "--name", "disk:1", "--format", "qcow2", "--checksum", "sha512:cd"));

        var request = (ImportImageFromUrlRequest)server.Compute.Requests.Single();
        Assert.Equal(("https://images.example/disk.qcow2", ImageFormat.Qcow2, "sha512:cd"), (request.Url, request.Image.Format, request.Image.Checksum));
        Assert.Contains("fetching from here: 1MiB of 2MiB (50 %)", run.Error, StringComparison.Ordinal);
        Assert.Equal("disk:1 imported: 2MiB, sha256:00\n", run.Out);
    }

    [Theory]
    [InlineData("image import", "Name a file or a URL")]
    [InlineData("image import x --kernel a --initramfs b --rootfs c", "without another file")]
    [InlineData("image import --kernel a", "needs --kernel, --initramfs and --rootfs")]
    [InlineData("image import x --format vmdk", "--format: 'vmdk' is not one of oci, qcow2, raw, kernel")]
    [InlineData("image import x --virtual-size big", "--virtual-size: 'big' is no size")]
    public async Task What_makes_no_sense_is_refused_before_anything_is_sent(string line, string expected)
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, line.Split(' ')));
        Assert.Contains(expected, run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Compute.Requests);
    }

    [Fact]
    public async Task An_image_is_shown_in_detail()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnGetImage = request => new()
        {
            Metadata = new() { Name = request.Image + ":1", Uid = "u1", CreatedAt = Timestamp.FromDateTimeOffset(CtlRun.Now.AddHours(-3)) },
            Digest = "sha256:ab",
            Format = ImageFormat.Qcow2,
            SizeBytes = 5 << 20,
            VirtualSizeBytes = 2L << 30,
            Architecture = "amd64",
            OperatingSystem = "linux",
            DefaultUser = "debian",
            Stored = true,
            Types_ = { InstanceType.Vm },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "image", "inspect", "disk"));

        foreach (var words in (string[])["disk:1", "qcow2", "vm", "linux/amd64", "5MiB", "2GiB", "debian", "3h ago"])
        {
            Assert.Contains(words, run.Out, StringComparison.Ordinal);
        }
    }
}
