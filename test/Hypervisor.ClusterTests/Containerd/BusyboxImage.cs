using System.Formats.Tar;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Hypervisor.Agent.Images;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>An OCI image made of Debian's busybox: a gzip, a zstd and a plain layer.</summary>
internal sealed class BusyboxImage
{
    private const string Prefix = "application/vnd.oci.image.";

    private BusyboxImage(string digest, string chainId, Dictionary<string, byte[]> blobs)
    {
        Digest = digest;
        ChainId = chainId;
        Blobs = blobs;
    }

    public string Digest { get; }

    public string ChainId { get; }

    public Dictionary<string, byte[]> Blobs { get; }

    public static BusyboxImage Make(string variant = "")
    {
        var blobs = new Dictionary<string, byte[]>();
        var program = Tar(tar =>
        {
            Directory(tar, "bin/");
            Directory(tar, "tmp/", (UnixFileMode)0x3FF);
            File(tar, "bin/busybox", System.IO.File.ReadAllBytes("/bin/busybox"), executable: true);
            foreach (var applet in (string[])["sh", "sleep", "true", "false", "id", "cat", "kill", "touch", "hostname", "test", "dd", "tail"])
            {
                tar.WriteEntry(new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + applet) { LinkName = "busybox" });
            }
        });
        var accounts = Tar(tar =>
        {
            Directory(tar, "etc/");
            // A link that would leave the image if it were followed on the host.
            tar.WriteEntry(new PaxTarEntry(TarEntryType.SymbolicLink, "etc/passwd") { LinkName = "/etc/accounts" });
            File(tar, "etc/accounts", "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"u8.ToArray());
            File(tar, "etc/group", "root:x:0:\napp:x:1001:\nextra:x:2000:app,other\n"u8.ToArray());
        });
        var rest = Tar(tar =>
        {
            Directory(tar, "work/");
            File(tar, "work/marker", Encoding.UTF8.GetBytes("here" + variant));
            File(tar, "work/not-executable", "x"u8.ToArray());
        });
        (byte[] Diff, byte[] Stored, string Type)[] layers =
        [
            (program, Gzip(program), "tar+gzip"), (accounts, ZstdFrame(accounts), "tar+zstd"), (rest, rest, "tar"),
        ];
        var diffIds = layers.Select(layer => ChainIds.Digest(layer.Diff)).ToArray();
        var configuration = Put(blobs, JsonSerializer.SerializeToUtf8Bytes(new
        {
            architecture = "amd64",
            os = "linux",
            config = new { Cmd = new[] { "/bin/sleep", "1000" }, Env = new[] { "FROM_IMAGE=1", "PATH=/bin" }, WorkingDir = "/work", StopSignal = "SIGUSR1" },
            rootfs = new { type = "layers", diff_ids = diffIds },
        }));
        var manifest = Put(blobs, JsonSerializer.SerializeToUtf8Bytes(new
        {
            schemaVersion = 2,
            mediaType = Prefix + "manifest.v1+json",
            config = new { mediaType = Prefix + "config.v1+json", digest = configuration, size = blobs[configuration].Length },
            layers = layers.Select(layer => new
            {
                mediaType = Prefix + "layer.v1." + layer.Type,
                digest = Put(blobs, layer.Stored),
                size = layer.Stored.Length,
            }),
        }));
        return new BusyboxImage(manifest, ChainIds.Of(diffIds)[^1], blobs);
    }

    private static string Put(Dictionary<string, byte[]> blobs, byte[] content)
    {
        var digest = ChainIds.Digest(content);
        blobs[digest] = content;
        return digest;
    }

    private static byte[] Tar(Action<TarWriter> fill)
    {
        using var stream = new MemoryStream();
        using (var tar = new TarWriter(stream, leaveOpen: true))
        {
            fill(tar);
        }

        return stream.ToArray();
    }

    private static void Directory(TarWriter tar, string name, UnixFileMode mode = (UnixFileMode)0x1ED) =>
        tar.WriteEntry(new PaxTarEntry(TarEntryType.Directory, name) { Mode = mode });

    private static void File(TarWriter tar, string name, byte[] content, bool executable = false) => tar.WriteEntry(
        new PaxTarEntry(TarEntryType.RegularFile, name)
        {
            DataStream = new MemoryStream(content),
            Mode = (UnixFileMode)(executable ? 0x1ED : 0x1A4),
        });

    private static byte[] Gzip(byte[] content)
    {
        using var stream = new MemoryStream();
        using (var gzip = new GZipStream(stream, CompressionLevel.Fastest))
        {
            gzip.Write(content);
        }

        return stream.ToArray();
    }

    /// <summary>RFC 8878 with raw blocks only.</summary>
    private static byte[] ZstdFrame(byte[] content)
    {
        using var stream = new MemoryStream();
        stream.Write([0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58]);
        const int largest = 128 * 1024;
        for (var offset = 0; offset < content.Length; offset += largest)
        {
            var size = Math.Min(largest, content.Length - offset);
            var header = (size << 3) | (offset + size == content.Length ? 1 : 0);
            stream.Write([(byte)header, (byte)(header >> 8), (byte)(header >> 16)]);
            stream.Write(content, offset, size);
        }

        return stream.ToArray();
    }
}
