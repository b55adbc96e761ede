using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Xunit;

namespace Hypervisor.Tests.Server.Images.Disks;

/// <summary>
/// Protects: formats are never guessed, nothing outside a disk is ever read because of it, what is refused leaves nothing, and what
/// is kept can be listed, resolved, fetched and collected as every image (HostConfined, NoOrphans).
/// </summary>
public sealed class DiskImportTests : IAsyncLifetime
{
    private CatalogueWorld _world = null!;

    public async ValueTask InitializeAsync() => _world = await CatalogueWorld.StartAsync(new ImagesConfiguration { MaxUnpackedBytes = 1L << 30, MaxVirtualBytes = 1L << 40 });

    public ValueTask DisposeAsync() => _world.DisposeAsync();

    [Fact]
    public async Task A_qcow2_is_an_image_for_vms_with_all_that_was_said_of_it()
    {
        var content = DiskFiles.Qcow2();
        var image = await _world.ImportAsync(content, new ImportImageHeader
        {
            Format = ImageFormat.Qcow2,
            DefaultUser = "debian",
            OperatingSystem = "linux",
            Architecture = "amd64",
            Checksum = Sum(content),
        });

        Assert.Equal((ImageFormat.Qcow2, DiskFiles.VirtualSize, "amd64", "linux", "debian"), (image.Format, image.VirtualSizeBytes, image.Architecture, image.OperatingSystem, image.DefaultUser));
        Assert.Equal([InstanceType.Vm], image.Types_);
        Assert.True(image.Stored);
        Assert.Equal(image, await _world.Catalogue.GetAsync(new GetImageRequest { Image = "disk:1" }, CancellationToken.None));

        using var manifest = JsonDocument.Parse(await ReadAsync(image.Digest));
        var layer = Assert.Single(manifest.RootElement.GetProperty("layers").EnumerateArray().ToList());
        Assert.Equal("application/vnd.hypervisor.disk.v1.qcow2", layer.GetProperty("mediaType").GetString());
        Assert.Equal(content, await ReadAsync(layer.GetProperty("digest").GetString()!));
        Assert.Equal(3, _world.Files.Count);
    }

    [Fact]
    public async Task The_same_disk_imported_twice_is_the_same_image_and_deleting_it_frees_everything()
    {
        var first = await _world.ImportAsync(DiskFiles.Qcow2(), ImageFormat.Qcow2);
        Assert.Equal(first, await _world.ImportAsync(DiskFiles.Qcow2(), ImageFormat.Qcow2));
        var other = await _world.ImportAsync(DiskFiles.Qcow2(), new ImportImageHeader { Format = ImageFormat.Qcow2, DefaultUser = "root" });
        Assert.NotEqual(first.Digest, other.Digest);

        await _world.Catalogue.DeleteAsync(new DeleteImageRequest { Image = "disk:1" }, CancellationToken.None);
        Assert.Empty(_world.Files);
    }

    [Fact]
    public async Task A_qcow2_is_recognised_and_a_raw_disk_is_not()
    {
        Assert.Equal(ImageFormat.Qcow2, (await _world.ImportAsync(DiskFiles.Qcow2(), ImageFormat.Unspecified)).Format);
        Assert.Contains("format", await _world.RefusalAsync(DiskFiles.Raw(), ImageFormat.Unspecified), StringComparison.Ordinal);
        Assert.Contains("backing file", await _world.RefusalAsync(DiskFiles.Qcow2(file => DiskFiles.Put64(file, 8, 512UL)), ImageFormat.Unspecified), StringComparison.Ordinal);
        Assert.Contains("Name the format", await _world.RefusalAsync(DiskFiles.Qcow2(), new ImportImageHeader { DefaultUser = "debian" }), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task A_raw_disk_is_stored_plain_and_its_zeros_take_no_room(string compression)
    {
        var content = DiskFiles.Raw(32 << 20);
        var packed = ImageArchives.Pack(content, compression);
        var image = await _world.ImportAsync(packed, new ImportImageHeader { Format = ImageFormat.Raw, Checksum = Sum(packed) });

        Assert.Equal((ImageFormat.Raw, (long)content.Length), (image.Format, image.VirtualSizeBytes));
        var disk = _world.Files.Single(file => new FileInfo(file).Length == content.Length);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(content)), Path.GetFileName(disk));
        Assert.Equal(content, await File.ReadAllBytesAsync(disk, TestContext.Current.CancellationToken));
        Assert.InRange(Blocks(disk), 1, 1 << 20);
    }

    [Theory]
    [InlineData("514649fb00000003", "qcow2 disk")]
    [InlineData("514649fb00000001", "qcow disk of version 1")]
    [InlineData("4b444d5601000000", "VMDK")]
    [InlineData("434f574401000000", "VMDK")]
    [InlineData("636f6e6563746978", "VHD")]
    [InlineData("7668647866696c65", "VHDX")]
    [InlineData("51454400", "QED")]
    [InlineData("4c554b53babe0001", "LUKS")]
    [InlineData("576974686f757446726565537061636500", "Parallels")]
    [InlineData("fd377a585a00", "xz")]
    [InlineData("425a68", "bzip2")]
    [InlineData("504b0304", "zip")]
    public async Task A_raw_disk_that_says_that_it_is_something_else_is_refused(string beginning, string expected)
    {
        var disk = DiskFiles.Raw();
        Convert.FromHexString(beginning).CopyTo(disk, 0);

        Assert.Contains(expected, await _world.RefusalAsync(disk, ImageFormat.Raw), StringComparison.Ordinal);
        if (!expected.StartsWith("qcow2", StringComparison.Ordinal))
        {
            await _world.RefusalAsync(disk, ImageFormat.Qcow2);
        }

        Assert.Contains(expected, await _world.RefusalAsync(ImageArchives.Gzip(disk), ImageFormat.Raw), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Descriptions_that_name_other_files_are_refused_and_nobody_opens_those()
    {
        var canary = Path.Combine(_world.Folder, "..", $"canary-{Path.GetFileName(_world.Folder)}");
        await File.WriteAllTextAsync(canary, "secret", TestContext.Current.CancellationToken);
        File.SetLastAccessTimeUtc(canary, DateTime.UnixEpoch);
        try
        {
            foreach (var text in (string[])[$"# Disk DescriptorFile\nversion=1\nRW 8 FLAT \"{canary}\" 0\n", $"\n# anything\n  version=1\nRW 8 FLAT \"{canary}\" 0\n"])
            {
                var disk = DiskFiles.Raw();
                Array.Clear(disk, 0, 4096);
                Encoding.UTF8.GetBytes(text).CopyTo(disk, 0);
                Assert.Contains("VMDK", await _world.RefusalAsync(disk, ImageFormat.Raw), StringComparison.Ordinal);
            }

            Assert.Contains("backing file", await _world.RefusalAsync(
                DiskFiles.Qcow2(file =>
                {
                    DiskFiles.Put64(file, 8, 1024UL);
                    DiskFiles.Put32(file, 16, (uint)canary.Length);
                    Encoding.UTF8.GetBytes(canary).CopyTo(file, 1024);
                }), ImageFormat.Qcow2), StringComparison.Ordinal);
            Assert.Equal(DateTime.UnixEpoch, File.GetLastAccessTimeUtc(canary));
        }
        finally
        {
            File.Delete(canary);
        }
    }

    [Fact]
    public async Task Footers_count_as_well()
    {
        var disk = DiskFiles.Raw();
        "conectix"u8.CopyTo(disk.AsSpan(disk.Length - 512));
        Assert.Contains("VHD", await _world.RefusalAsync(disk, ImageFormat.Raw), StringComparison.Ordinal);
        Assert.Contains("sectors", await _world.RefusalAsync(DiskFiles.Raw()[..^1], ImageFormat.Raw), StringComparison.Ordinal);
        Assert.Contains("empty", await _world.RefusalAsync([], ImageFormat.Raw), StringComparison.Ordinal);
        Assert.Contains("cut off", await _world.RefusalAsync(DiskFiles.Qcow2()[..DiskFiles.L2], ImageFormat.Qcow2), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sizes_beyond_what_was_allowed_or_said_are_refused()
    {
        Assert.Contains("virtual size", await _world.RefusalAsync(DiskFiles.Qcow2(file => DiskFiles.Put64(file, 24, (1L << 40) + 1)), ImageFormat.Qcow2), StringComparison.Ordinal);
        Assert.Contains("virtual_size_bytes", await _world.RefusalAsync(
            DiskFiles.Qcow2(), new ImportImageHeader { Format = ImageFormat.Qcow2, VirtualSizeBytes = DiskFiles.VirtualSize - 1 }), StringComparison.Ordinal);
        Assert.Contains("virtual_size_bytes", await _world.RefusalAsync(
            DiskFiles.Raw(), new ImportImageHeader { Format = ImageFormat.Raw, VirtualSizeBytes = 512 }), StringComparison.Ordinal);
        Assert.Contains("max_archive_size", await _world.RefusalAsync(
            DiskFiles.Raw(), new ImportImageHeader { Format = ImageFormat.Raw, SizeBytes = long.MaxValue }), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_bomb_is_refused_unless_its_size_is_meant()
    {
        using var packed = new MemoryStream();
        await using (var gzip = new GZipStream(packed, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            var zeros = new byte[1 << 20];
            for (var mebibyte = 0; mebibyte < 100; mebibyte++)
            {
                gzip.Write(zeros);
            }
        }

        Assert.Contains("decompression bomb", await _world.RefusalAsync(packed.ToArray(), ImageFormat.Raw), StringComparison.Ordinal);
        Assert.Contains("virtual_size_bytes", await _world.RefusalAsync(
            packed.ToArray(), new ImportImageHeader { Format = ImageFormat.Raw, VirtualSizeBytes = 99 << 20 }), StringComparison.Ordinal);
        var image = await _world.ImportAsync(packed.ToArray(), new ImportImageHeader { Format = ImageFormat.Raw, VirtualSizeBytes = 100 << 20 });
        Assert.Equal(100 << 20, image.VirtualSizeBytes);
    }

    [Theory]
    [InlineData(ImageFormat.Qcow2)]
    [InlineData(ImageFormat.Unspecified)]
    [InlineData(ImageFormat.Oci)]
    public async Task A_wrong_checksum_leaves_nothing(ImageFormat format)
    {
        var content = format == ImageFormat.Oci ? ImageArchives.DockerSave(ImageArchives.Layer) : DiskFiles.Qcow2();
        var wrong = "sha512:" + Convert.ToHexString(SHA512.HashData([.. content, 0]));

        Assert.Contains("not sha512:", await _world.RefusalAsync(content, new ImportImageHeader { Format = format, Checksum = wrong }), StringComparison.Ordinal);
        var right = "sha512:" + Convert.ToHexString(SHA512.HashData(content));
        await _world.ImportAsync(content, new ImportImageHeader { Format = format, Checksum = right });
    }

    [Theory]
    [InlineData("md5:00", "", "", "", "checksum")]
    [InlineData("sha256:zz", "", "", "", "checksum")]
    [InlineData("", "arm64", "", "", "architecture")]
    [InlineData("", "", "Linux\n", "", "operating_system")]
    [InlineData("", "", "", "--root", "default_user")]
    [InlineData("", "", "", "a b", "default_user")]
    public async Task Bad_fields_are_named(string checksum, string architecture, string system, string user, string field)
    {
        var detail = await _world.RefusalAsync(DiskFiles.Qcow2(), new ImportImageHeader
        {
            Format = ImageFormat.Qcow2,
            Checksum = checksum,
            Architecture = architecture,
            OperatingSystem = system,
            DefaultUser = user,
        });

        Assert.Contains(field, detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Types_are_among_those_that_can_run_it()
    {
        Assert.Contains("types", await _world.RefusalAsync(
            DiskFiles.Qcow2(), new ImportImageHeader { Format = ImageFormat.Qcow2, Types_ = { InstanceType.Container } }), StringComparison.Ordinal);
        var oci = await _world.ImportAsync(ImageArchives.DockerSave(ImageArchives.Layer), ImageFormat.Oci);
        Assert.Equal([InstanceType.Container, InstanceType.Vm, InstanceType.Microvm], oci.Types_);
        Assert.Equal(ImageFormat.Oci, oci.Format);
    }

    [Fact]
    public async Task A_kernel_set_has_three_files_in_one_order()
    {
        var (kernel, initramfs, rootfs) = (DiskFiles.Kernel(), DiskFiles.Initramfs(), DiskFiles.Raw());
        var first = await _world.ImportAsync([.. kernel, .. initramfs, .. rootfs], Set((ImageFileRole.Kernel, kernel), (ImageFileRole.Initramfs, initramfs), (ImageFileRole.Rootfs, rootfs)));
        var again = await _world.ImportAsync([.. rootfs, .. kernel, .. initramfs], Set((ImageFileRole.Rootfs, rootfs), (ImageFileRole.Kernel, kernel), (ImageFileRole.Initramfs, initramfs)));

        Assert.Equal(first.Digest, again.Digest);
        Assert.Equal([InstanceType.Vm, InstanceType.Microvm], first.Types_);
        Assert.Equal((ImageFormat.Kernel, (long)rootfs.Length), (first.Format, first.VirtualSizeBytes));
        using var manifest = JsonDocument.Parse(await ReadAsync(first.Digest));
        Assert.Equal(
            ["application/vnd.hypervisor.kernel.v1", "application/vnd.hypervisor.initramfs.v1", "application/vnd.hypervisor.disk.v1.raw"],
            manifest.RootElement.GetProperty("layers").EnumerateArray().Select(layer => layer.GetProperty("mediaType").GetString()));
    }

    [Fact]
    public async Task Kernel_sets_that_are_none_are_refused()
    {
        var (kernel, initramfs, rootfs) = (DiskFiles.Kernel(), DiskFiles.Initramfs(), DiskFiles.Raw());
        var set = () => Set((ImageFileRole.Kernel, kernel), (ImageFileRole.Initramfs, initramfs), (ImageFileRole.Rootfs, rootfs));
        Assert.Contains("bzImage", await _world.RefusalAsync([.. new byte[4096], .. initramfs, .. rootfs], set()), StringComparison.Ordinal);
        Assert.Contains("cpio", await _world.RefusalAsync([.. kernel, .. new byte[1006], .. rootfs], set()), StringComparison.Ordinal);
        Assert.Contains("qcow2", await _world.RefusalAsync([.. kernel, .. initramfs, .. DiskFiles.Qcow2()], set()), StringComparison.Ordinal);
        Assert.Contains("ended after", await _world.RefusalAsync([.. kernel, .. initramfs, .. rootfs[..^512]], set()), StringComparison.Ordinal);
        Assert.Contains("more after the end", await _world.RefusalAsync([.. kernel, .. initramfs, .. rootfs, 0], set()), StringComparison.Ordinal);
        Assert.Contains("each once", await _world.RefusalAsync(kernel, Set((ImageFileRole.Kernel, kernel))), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_disk_has_to_be_given_a_name()
    {
        var pieces = ArchiveImporterTests.Pieces(DiskFiles.Qcow2());
        var exception = await Assert.ThrowsAsync<RpcException>(() => _world.Catalogue.ImportAsync(new ImportImageHeader(), pieces, CancellationToken.None));

        Assert.Contains("no name of its own", exception.Status.Detail, StringComparison.Ordinal);
    }

    private static ImportImageHeader Set(params (ImageFileRole Role, byte[] Content)[] files)
    {
        var header = new ImportImageHeader { Format = ImageFormat.Kernel };
        header.Files.AddRange(files.Select(file => new ImportImageFile { Role = file.Role, SizeBytes = file.Content.Length }));
        return header;
    }

    private static string Sum(byte[] content) => ImageArchives.DigestOf(content);

    /// <summary>Bytes that a file takes, as du shows them.</summary>
    private static long Blocks(string path)
    {
        using var du = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("/usr/bin/du", ["-B1", path]) { RedirectStandardOutput = true })!;
        var answer = du.StandardOutput.ReadToEnd();
        du.WaitForExit();
        return long.Parse(answer.Split('\t')[0], System.Globalization.CultureInfo.InvariantCulture);
    }

    private async Task<byte[]> ReadAsync(string digest)
    {
        await using var blob = _world.Catalogue.Fetch(digest, 0);
        var content = new byte[blob.Length];
        await blob.ReadExactlyAsync(content);
        return content;
    }
}
