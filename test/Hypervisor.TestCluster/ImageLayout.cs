using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;

namespace Hypervisor.TestCluster;

/// <param name="Bytes">Of all its files together.</param>
internal readonly record struct ImageLayer(int Bytes, int Files);

/// <summary>An image in the OCI layout, its first layer with a busybox, whose content compresses to about a half, as programs do.</summary>
internal static class ImageLayout
{
    /// <summary>Of the image in its folder: "oci:FOLDER:made".</summary>
    public const string Name = "made";

    private static readonly string[] _command = ["/busybox"];

    private const int FilesPerFolder = 200;
    private const string Prefix = "application/vnd.oci.image.";

    public static async Task WriteAsync(string folder, IReadOnlyList<ImageLayer> layers)
    {
        Directory.CreateDirectory($"{folder}/blobs/sha256");
        List<(string Digest, long Size)> blobs = [];
        List<string> diffIds = [];
        for (var layer = 0; layer < layers.Count; layer++)
        {
            var tar = Tar(layer, layers[layer].Bytes, layers[layer].Files);
            diffIds.Add(Digest(tar));
            using var packed = new MemoryStream();
            await using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true))
            {
                await gzip.WriteAsync(tar);
            }

            blobs.Add(await PutAsync(folder, packed.ToArray()));
        }

        var config = await PutAsync(folder, JsonSerializer.SerializeToUtf8Bytes(new
        {
            architecture = "amd64",
            os = "linux",
            config = new { Cmd = _command },
            rootfs = new { type = "layers", diff_ids = diffIds },
        }));
        var manifest = await PutAsync(folder, JsonSerializer.SerializeToUtf8Bytes(new
        {
            schemaVersion = 2,
            mediaType = Prefix + "manifest.v1+json",
            config = new { mediaType = Prefix + "config.v1+json", digest = config.Digest, size = config.Size },
            layers = blobs.Select(blob => new { mediaType = Prefix + "layer.v1.tar+gzip", digest = blob.Digest, size = blob.Size }),
        }));
        await File.WriteAllTextAsync($"{folder}/oci-layout", """{"imageLayoutVersion":"1.0.0"}""");
        await File.WriteAllBytesAsync($"{folder}/index.json", JsonSerializer.SerializeToUtf8Bytes(new
        {
            schemaVersion = 2,
            manifests = new[]
            {
                new
                {
                    mediaType = Prefix + "manifest.v1+json",
                    digest = manifest.Digest,
                    size = manifest.Size,
                    annotations = new Dictionary<string, string> { ["org.opencontainers.image.ref.name"] = Name },
                },
            },
        }));
    }

    private static byte[] Tar(int layer, int bytes, int files)
    {
        using var stream = new MemoryStream(bytes + (1 << 20));
        using (var tar = new TarWriter(stream, leaveOpen: true))
        {
            if (layer == 0)
            {
                tar.WriteEntry(Entry("busybox", File.ReadAllBytes("/bin/busybox"), (UnixFileMode)0x1ED));
            }

            for (var file = 0; file < files; file++)
            {
                // Four of eight bits are free: about 2 to 1.
                var content = RandomNumberGenerator.GetBytes(bytes / files);
                for (var index = 0; index < content.Length; index++)
                {
                    content[index] &= 0x0F;
                }

                tar.WriteEntry(Entry($"data/{layer}/{file / FilesPerFolder}/{file}", content, (UnixFileMode)0x1A4));
            }
        }

        return stream.ToArray();
    }

    private static PaxTarEntry Entry(string name, byte[] content, UnixFileMode mode) =>
        new(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content), Mode = mode };

    private static async Task<(string Digest, long Size)> PutAsync(string folder, byte[] content)
    {
        var digest = Digest(content);
        await File.WriteAllBytesAsync($"{folder}/blobs/sha256/{digest[7..]}", content);
        return (digest, content.Length);
    }

    private static string Digest(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));
}
