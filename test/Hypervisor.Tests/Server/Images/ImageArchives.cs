using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Hypervisor.Tests.Server.Images;

/// <summary>Good image archives of every format, and pieces to make bad ones from.</summary>
internal static class ImageArchives
{
    public static byte[] Layer { get; } = new TarBuilder()
        .Directory("bin/").File("bin/busybox", "binary").Link("bin/sh", "/bin/busybox").Link("bin/ls", "bin/busybox", '1')
        .File("etc/.wh.passwd", "").Device("overlay", '3', 0, 0).ToArray();

    public static string DigestOf(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));

    public static string Hex(byte[] content) => DigestOf(content)[7..];

    public static byte[] Gzip(byte[] content)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            gzip.Write(content);
        }

        return packed.ToArray();
    }

    public static byte[] Zstd(byte[] content)
    {
        using var compressor = new ZstdSharp.Compressor();
        return compressor.Wrap(content).ToArray();
    }

    public static byte[] Pack(byte[] content, string compression) => compression switch
    {
        "gzip" => Gzip(content),
        "zstd" => Zstd(content),
        _ => content,
    };

    public static byte[] Config(byte[] layer, string architecture = "amd64", string process = """{"Cmd":["sh"],"Env":["PATH=/bin"]}""") => Encoding.UTF8.GetBytes(
        $$"""{"architecture":"{{architecture}}","os":"linux","config":{{process}},"rootfs":{"type":"layers","diff_ids":["{{DigestOf(layer)}}"]},"history":[]}""");

    public static byte[] DockerSave(byte[] layer, byte[]? config = null, string compression = "plain", string tag = "docker.io/library/box:1")
    {
        config ??= Config(layer);
        return new TarBuilder()
            .Directory("abc/")
            .File("abc/layer.tar", Pack(layer, compression))
            .File($"{Hex(config)}.json", config)
            .File("manifest.json", $$"""[{"Config":"{{Hex(config)}}.json","RepoTags":["{{tag}}"],"Layers":["abc/layer.tar"]}]""")
            .ToArray();
    }

    public static byte[] Oci(byte[] layer, byte[]? config = null, string compression = "plain", string? indexJson = null, bool alsoDocker = false)
    {
        config ??= Config(layer);
        var packed = Pack(layer, compression);
        var manifest = Manifest(config, packed, compression);
        var tar = new TarBuilder()
            .File("oci-layout", """{"imageLayoutVersion":"1.0.0"}""")
            .File("index.json", indexJson ?? Index(manifest))
            .Directory("blobs/").Directory("blobs/sha256/")
            .File($"blobs/sha256/{Hex(config)}", config)
            .File($"blobs/sha256/{Hex(packed)}", packed)
            .File($"blobs/sha256/{Hex(manifest)}", manifest);
        return (alsoDocker
            ? tar.File("manifest.json", $$"""[{"Config":"blobs/sha256/{{Hex(config)}}","RepoTags":["box:1"],"Layers":["blobs/sha256/{{Hex(packed)}}"]}]""")
            : tar).ToArray();
    }

    public static byte[] Manifest(byte[] config, byte[] layer, string compression) => Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{DigestOf(config)}}","size":{{config.Length}}},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar{{(compression == "plain" ? "" : "+" + compression)}}","digest":"{{DigestOf(layer)}}","size":{{layer.Length}}}]}""");

    public static string Index(byte[] manifest, string platform = "") =>
        $$$"""{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{{DigestOf(manifest)}}}","size":{{{manifest.Length}}}{{{platform}}},"annotations":{"io.containerd.image.name":"docker.io/library/box:1","org.opencontainers.image.ref.name":"1"}}]}""";
}
