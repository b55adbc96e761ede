using System.IO.Compression;
using ZstdSharp;

namespace Hypervisor.Server.Images.Archives;

internal enum CompressionKind
{
    None,
    Gzip,
    Zstd,
}

/// <summary>Compressed streams by their first bytes, and what they may unpack to.</summary>
internal static class Compression
{
    public const int MagicLength = 4;

    /// <summary>RFC 1952, section 2.3.1; RFC 8878, section 3.1.1.</summary>
    public static CompressionKind Detect(ReadOnlySpan<byte> head) =>
        head.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B]) ? CompressionKind.Gzip
        : head.StartsWith((ReadOnlySpan<byte>)[0x28, 0xB5, 0x2F, 0xFD]) ? CompressionKind.Zstd
        : CompressionKind.None;

    /// <summary>The decompressed stream; the compressed one stays open.</summary>
    public static Stream Unpack(Stream stream, CompressionKind kind) => kind switch
    {
        CompressionKind.Gzip => new GZipStream(stream, CompressionMode.Decompress, leaveOpen: true),
        // The library's default bound of the window, 128 MiB, is zstd's own.
        CompressionKind.Zstd => new DecompressionStream(stream, leaveOpen: true),
        _ => stream,
    };

    /// <summary>What a broken compressed stream throws.</summary>
    public static bool IsCorruption(Exception exception) => exception is InvalidDataException or ZstdException or EndOfStreamException;

    /// <exception cref="InvalidImageException">So much from so little is made to fill disks, not to run.</exception>
    public static void RequirePlausible(long packed, long unpacked, string what)
    {
        if (unpacked > Limits.Images.RatioGraceBytes && unpacked / Limits.Images.CompressionRatio > packed)
        {
            throw new InvalidImageException($"{what} unpacks to more than {Limits.Images.CompressionRatio} times its size: a decompression bomb.");
        }
    }
}
