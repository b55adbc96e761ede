using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text.Json;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>An image in an archive, of layers that the test writes itself.</summary>
internal static class OciArchive
{
    private const string Media = "application/vnd.oci.image.";
    private const UnixFileMode Mode = (UnixFileMode)0b111_101_101;

    public static byte[] Of(params byte[][] layers)
    {
        var blobs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var configuration = Put(new
        {
            architecture = "amd64",
            os = "linux",
            config = new { Env = new[] { "PATH=/bin" } },
            rootfs = new { type = "layers", diff_ids = layers.Select(DigestOf) },
        });
        var manifest = Put(new
        {
            schemaVersion = 2,
            mediaType = Media + "manifest.v1+json",
            config = Descriptor("config.v1+json", configuration),
            layers = layers.Select(layer => Descriptor("layer.v1.tar", Add(layer))).ToArray(),
        });
        var index = new { schemaVersion = 2, manifests = new[] { Descriptor("manifest.v1+json", manifest) } };
        return Layer(tar =>
        {
            File(tar, "oci-layout", """{"imageLayoutVersion":"1.0.0"}"""u8.ToArray());
            File(tar, "index.json", JsonSerializer.SerializeToUtf8Bytes(index));
            foreach (var (digest, content) in blobs)
            {
                File(tar, "blobs/" + digest.Replace(':', '/'), content);
            }
        });

        string Put<T>(T document) => Add(JsonSerializer.SerializeToUtf8Bytes(document));

        string Add(byte[] content)
        {
            blobs[DigestOf(content)] = content;
            return DigestOf(content);
        }

        object Descriptor(string type, string digest) => new { mediaType = Media + type, digest, size = blobs[digest].Length };
    }

    public static byte[] Layer(Action<TarWriter> write)
    {
        using var stream = new MemoryStream();
        using (var tar = new TarWriter(stream, leaveOpen: true))
        {
            write(tar);
        }

        return stream.ToArray();
    }

    /// <summary>The least that runs: a shell and its tools, without any other folder.</summary>
    public static byte[] Shell() => Layer(tar =>
    {
        File(tar, "bin/busybox", System.IO.File.ReadAllBytes("/usr/bin/busybox"));
        foreach (var applet in new[] { "sh", "sleep", "ln", "mkdir", "cat" })
        {
            Link(tar, "bin/" + applet, "busybox");
        }
    });

    public static void File(TarWriter tar, string name, byte[] content) =>
        tar.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content), Mode = Mode });

    public static void Link(TarWriter tar, string name, string target) =>
        tar.WriteEntry(new PaxTarEntry(TarEntryType.SymbolicLink, name) { LinkName = target });

    public static void HardLink(TarWriter tar, string name, string target) =>
        tar.WriteEntry(new PaxTarEntry(TarEntryType.HardLink, name) { LinkName = target });

    private static string DigestOf(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));
}
