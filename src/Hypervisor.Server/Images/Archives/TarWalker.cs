
namespace Hypervisor.Server.Images.Archives;

/// <summary>
/// Reads a tar stream entry by entry, forward only, and refuses everything that two readers of tar could understand
/// differently: what is checked here is unpacked by containerd's reader (Go's archive/tar) later.
/// </summary>
/// <remarks>
/// Not System.Formats.Tar: that one allocates whatever size an extended header claims, accepts data after links, and does not
/// say which of several contradicting names it took. Format: POSIX.1-2017 pax, and the GNU tar manual's long names.
/// </remarks>
internal sealed class TarWalker(Stream stream, int maxEntries, string what)
{
    private const int BlockSize = 512;

    private readonly byte[] _block = new byte[BlockSize];
    private readonly byte[] _skip = new byte[64 * 1024];
    private long _position;
    private long _remaining;
    private long _padding;
    private int _entries;

    /// <summary>The next entry, after skipping what is left of the last one; null at the end.</summary>
    /// <exception cref="InvalidImageException"/>
    public TarEntry? Next()
    {
        TarExtensions? extensions = null;
        while (true)
        {
            Skip(_remaining + _padding);
            (_remaining, _padding) = (0, 0);
            if (!ReadBlock())
            {
                return extensions is null ? null : throw Refuse("ends after an extended header");
            }

            if (!_block.AsSpan().ContainsAnyExcept((byte)0))
            {
                if (extensions is not null || (ReadBlock() && _block.AsSpan().ContainsAnyExcept((byte)0)))
                {
                    throw Refuse("has an empty header in its middle");
                }

                return null;
            }

            if (++_entries > maxEntries)
            {
                throw Refuse($"has more than {maxEntries} entries");
            }

            var header = TarHeader.Parse(_block, what);
            if (header.Type is 'x' or 'g' or 'L' or 'K')
            {
                var metadata = Metadata(header);
                if (header.Type == 'g')
                {
                    TarExtensions.RequireHarmlessGlobal(metadata, what);
                }
                else
                {
                    extensions ??= new TarExtensions(what);
                    extensions.Add(header.Type, metadata);
                }

                continue;
            }

            return Entry(header, extensions);
        }
    }

    /// <summary>Data of the current entry; 0 at its end.</summary>
    public int Read(Span<byte> buffer)
    {
        if (_remaining == 0)
        {
            return 0;
        }

        var count = stream.Read(buffer[..(int)Math.Min(buffer.Length, _remaining)]);
        if (count == 0)
        {
            throw Refuse("ends in the middle of an entry");
        }

        _position += count;
        _remaining -= count;
        return count;
    }

    private TarEntry Entry(TarHeader header, TarExtensions? extensions)
    {
        var name = extensions?.Path ?? header.Name;
        var size = extensions?.Size ?? header.Size;
        var link = extensions?.LinkPath ?? header.LinkName;
        var kind = header.Type switch
        {
            // A regular file whose name ends with a slash is a directory, to Go as to tars from before 1988.
            '0' or '\0' => name.EndsWith('/') ? TarEntryKind.Directory : TarEntryKind.File,
            '1' => TarEntryKind.HardLink,
            '2' => TarEntryKind.SymbolicLink,
            '3' => TarEntryKind.CharacterDevice,
            '4' => TarEntryKind.BlockDevice,
            '5' => TarEntryKind.Directory,
            '6' => TarEntryKind.Fifo,
            _ => throw Refuse($"has the entry \"{ArchivePath.Show(name)}\" of unsupported type {(int)header.Type}"),
        };

        if (kind != TarEntryKind.File && size != 0)
        {
            throw Refuse($"has data in the entry \"{ArchivePath.Show(name)}\", which is no file");
        }

        if (name.Contains('\0') || link.Contains('\0'))
        {
            throw Refuse($"has a NUL in the name of \"{ArchivePath.Show(name)}\"");
        }

        _remaining = size;
        _padding = -size & (BlockSize - 1);
        return new TarEntry(name, kind, size, link, header.DeviceMajor, header.DeviceMinor, _position);
    }

    private byte[] Metadata(TarHeader header)
    {
        if (header.Size > Limits.Images.TarMetadataBytes)
        {
            throw Refuse($"has an extended header of {header.Size} bytes; at most {Limits.Images.TarMetadataBytes}");
        }

        _remaining = header.Size;
        _padding = -header.Size & (BlockSize - 1);
        var metadata = new byte[header.Size];
        for (var read = 0; read < metadata.Length;)
        {
            read += Read(metadata.AsSpan(read));
        }

        return metadata;
    }

    private bool ReadBlock()
    {
        var count = stream.ReadAtLeast(_block, BlockSize, throwOnEndOfStream: false);
        _position += count;
        return count == BlockSize || (count == 0 ? false : throw Refuse("ends in the middle of a header"));
    }

    private void Skip(long count)
    {
        while (count > 0)
        {
            var read = stream.Read(_skip, 0, (int)Math.Min(_skip.Length, count));
            if (read == 0)
            {
                throw Refuse("ends in the middle of an entry");
            }

            _position += read;
            count -= read;
        }
    }

    private InvalidImageException Refuse(string why) => new($"{what} {why}.");
}
