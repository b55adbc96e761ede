using System.Security.Cryptography;

namespace Hypervisor.Server.Images.Archives;

/// <summary>
/// Reads a layer as its unpacker will: decompressed, hashed for its diff id, entry by entry. Symbolic links may point
/// anywhere: containerd resolves every path of a layer inside the container's root.
/// </summary>
internal static class LayerChecker
{
    private const string Whiteout = ".wh.";

    /// <param name="allowance">Decompressed bytes that all layers together may still have; reduced by this layer's.</param>
    /// <returns>The diff id: digest of the decompressed layer.</returns>
    /// <exception cref="InvalidImageException"/>
    public static ImageDigest Check(BoundedStream layer, CompressionKind kind, string what, ref long allowance)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var left = allowance;
        long total = 0;
        using var unpacked = Compression.Unpack(layer, kind);
        using var counted = new HashingStream(unpacked, hash, count =>
        {
            total += count;
            if (total > left)
            {
                throw TooLarge(what);
            }

            if (kind != CompressionKind.None)
            {
                Compression.RequirePlausible(layer.BytesRead, total, what);
            }
        });
        try
        {
            using var buffered = new BufferedStream(counted, 64 * 1024);
            var walker = new TarWalker(buffered, Limits.Images.LayerEntries, what);
            while (walker.Next() is { } entry)
            {
                CheckEntry(entry, what);
            }

            // The digest is over everything, also over the padding that writers add after the end.
            var rest = new byte[64 * 1024];
            while (buffered.Read(rest) > 0)
            {
            }
        }
        catch (Exception exception) when (Compression.IsCorruption(exception))
        {
            throw new InvalidImageException($"{what} is damaged: its {kind} compression cannot be read; make the archive again.", exception);
        }

        allowance -= total;
        return ImageDigest.Of(hash.GetHashAndReset());
    }

    /// <summary>The same layer once more: nodes unpack it at each of its places.</summary>
    /// <exception cref="InvalidImageException"/>
    public static void Repeat(long unpacked, string what, ref long allowance)
    {
        if ((allowance -= unpacked) < 0)
        {
            throw TooLarge(what);
        }
    }

    private static InvalidImageException TooLarge(string what) =>
        new($"{what} makes the image larger than the server's images.max_unpacked_size allows.");

    private static void CheckEntry(TarEntry entry, string what)
    {
        var path = ArchivePath.Normalise(entry.Name, $"{what}: entry");
        if (entry.Kind == TarEntryKind.HardLink)
        {
            ArchivePath.Normalise(entry.LinkTarget, $"{what}: hard link \"{entry.Shown}\" to");
        }

        // 0/0 is overlayfs's own whiteout; any other device is the host's.
        if (entry.Kind == TarEntryKind.BlockDevice || (entry.Kind == TarEntryKind.CharacterDevice && (entry.DeviceMajor != 0 || entry.DeviceMinor != 0)))
        {
            throw new InvalidImageException($"{what}: entry \"{entry.Shown}\" is a device node; images may not bring devices.");
        }

        // ".wh.NAME" removes NAME; with "." or ".." it would remove the directory or its parent.
        var name = path[(path.LastIndexOf('/') + 1)..];
        if (name.StartsWith(Whiteout, StringComparison.Ordinal) && name[Whiteout.Length..] is "" or "." or "..")
        {
            throw new InvalidImageException($"{what}: entry \"{entry.Shown}\" is a whiteout that leads out of its directory.");
        }
    }
}
