using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>Files in and out of a guest, by the init's built-in programs. What a guest sends is checked as what a client sends is.</summary>
internal static class GuestCopies
{
    public const byte CopyOut = 1;
    public const byte CopyIn = 2;

    internal const int EntryBytes = 37;
    private const byte EndOfEntries = 4;

    /// <exception cref="DriverException">CopyTooLarge, GuestNotReachable.</exception>
    /// <exception cref="IOException">The guest's file system refuses.</exception>
    public static async IAsyncEnumerable<CopyPart> ReadAsync(GuestExec process, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var stream = new Source(process);
        for (var entries = 0; ; entries++)
        {
            var head = await stream.TakeAsync(EntryBytes, cancellationToken);
            if (head[0] == EndOfEntries)
            {
                yield break;
            }

            var path = await stream.TextAsync(BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(33)), cancellationToken);
            var target = await stream.TextAsync(BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(35)), cancellationToken);
            var entry = Parse(head, path, target);
            if (entries >= StreamLimits.CopyEntries)
            {
                throw new DriverException("CopyTooLarge", $"at most {StreamLimits.CopyEntries} entries are copied at once", permanent: true);
            }

            yield return new CopyPart { Entry = entry };
            for (var left = entry.SizeBytes; left > 0;)
            {
                var data = await stream.TakeSomeAsync((int)Math.Min(left, StreamLimits.CopyChunkBytes), cancellationToken);
                left -= data.Length;
                yield return new CopyPart { Data = ByteString.CopyFrom(data.Span) };
            }
        }
    }

    internal static byte[] Render(FileEntry entry)
    {
        var (path, target) = (Encoding.UTF8.GetBytes(entry.Path), Encoding.UTF8.GetBytes(entry.LinkTarget));
        if (path.Length > StreamLimits.PathBytes || target.Length > StreamLimits.PathBytes || path.Contains((byte)0) || target.Contains((byte)0)
            || entry.SizeBytes < 0 || (entry.Mode & ~0xFFF) != 0 || entry.Kind is not (FileKind.File or FileKind.Directory or FileKind.Symlink)
            || (entry.Kind != FileKind.File && entry.SizeBytes != 0))
        {
            throw new DriverException("EntryInvalid", $"\"{RootDirectory.Shown(entry.Path)}\": its kind, mode, size or path is out of range", permanent: true);
        }

        var modified = entry.ModifiedAt ?? new Timestamp();
        var bytes = new byte[EntryBytes + path.Length + target.Length];
        bytes[0] = (byte)entry.Kind;
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(1), entry.Mode);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(5), entry.UserId);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(9), entry.GroupId);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(13), modified.Seconds);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(21), Math.Clamp(modified.Nanos, 0, 999_999_999));
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(25), entry.SizeBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(33), (ushort)path.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(35), (ushort)target.Length);
        path.CopyTo(bytes, EntryBytes);
        target.CopyTo(bytes, EntryBytes + path.Length);
        return bytes;
    }

    internal static FileEntry Parse(ReadOnlySpan<byte> head, string path, string target)
    {
        var (kind, size) = ((FileKind)head[0], BinaryPrimitives.ReadInt64LittleEndian(head[25..]));
        var names = path.Length == 0 ? [] : path.Split('/');
        if (kind is not (FileKind.File or FileKind.Directory or FileKind.Symlink) || size < 0 || (kind != FileKind.File && size != 0)
            || names.Length > StreamLimits.CopyDepth + 1 || names.Any(name => name is "" or "." or ".." || name.Contains('\0', StringComparison.Ordinal)))
        {
            throw GuestChannel.NotReachable("what it sent of its files makes no sense");
        }

        return new FileEntry
        {
            Path = path,
            Kind = kind,
            Mode = BinaryPrimitives.ReadInt32LittleEndian(head[1..]) & 0xFFF,
            UserId = BinaryPrimitives.ReadUInt32LittleEndian(head[5..]),
            GroupId = BinaryPrimitives.ReadUInt32LittleEndian(head[9..]),
            ModifiedAt = new Timestamp
            {
                Seconds = Math.Clamp(BinaryPrimitives.ReadInt64LittleEndian(head[13..]), -62_135_596_800, 253_402_300_799),
                Nanos = Math.Clamp(BinaryPrimitives.ReadInt32LittleEndian(head[21..]), 0, 999_999_999),
            },
            SizeBytes = size,
            LinkTarget = target,
        };
    }

    /// <summary>The program said why, in the words of its file system.</summary>
    internal static async Task<IOException> RefusalAsync(GuestExec process, CancellationToken cancellationToken)
    {
        const int inputOutputError = 5;
        var text = new byte[ChannelLimits.MessageBytes];
        var read = await process.ReadAsync(LogStream.Stderr, text, cancellationToken);
        return new IOException(read > 0 ? StartFailures.Printable(text.AsSpan(0, read)) : "the copy was cut off", inputOutputError);
    }

    private sealed class Source(GuestExec process)
    {
        private readonly byte[] _buffer = new byte[StreamLimits.CopyChunkBytes];
        private int _start;
        private int _end;

        public async ValueTask<byte[]> TakeAsync(int length, CancellationToken cancellationToken)
        {
            var taken = new byte[length];
            for (var done = 0; done < length;)
            {
                var part = await TakeSomeAsync(length - done, cancellationToken);
                part.CopyTo(taken.AsMemory(done));
                done += part.Length;
            }

            return taken;
        }

        /// <summary>At least one byte; valid until the next call.</summary>
        public async ValueTask<ReadOnlyMemory<byte>> TakeSomeAsync(int most, CancellationToken cancellationToken)
        {
            if (_start == _end)
            {
                (_start, _end) = (0, await process.ReadAsync(LogStream.Stdout, _buffer, cancellationToken));
                if (_end == 0)
                {
                    throw await RefusalAsync(process, cancellationToken);
                }
            }

            var part = _buffer.AsMemory(_start, Math.Min(most, _end - _start));
            _start += part.Length;
            return part;
        }

        public async ValueTask<string> TextAsync(int length, CancellationToken cancellationToken) => length > StreamLimits.PathBytes
            ? throw GuestChannel.NotReachable("what it sent of its files makes no sense")
            : Encoding.UTF8.GetString(await TakeAsync(length, cancellationToken));
    }
}

/// <summary>Sends a file or folder to the init's built-in program. Owns the process.</summary>
internal sealed class GuestTreeWriter(GuestExec process) : ITreeWriter
{
    private static readonly byte[] End = [4, .. new byte[GuestCopies.EntryBytes - 1]];

    private long _left;

    public long Entries { get; private set; }

    public long Bytes { get; private set; }

    public async ValueTask AddAsync(FileEntry entry, CancellationToken cancellationToken)
    {
        CheckWhole();
        if (++Entries > StreamLimits.CopyEntries)
        {
            throw new DriverException("CopyTooLarge", $"at most {StreamLimits.CopyEntries} entries are copied at once", permanent: true);
        }

        await SendAsync(GuestCopies.Render(entry), cancellationToken);
        _left = entry.SizeBytes;
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        if (data.Length > _left)
        {
            throw new DriverException("EntryInvalid", "more content was sent than the entry announced", permanent: true);
        }

        await SendAsync(data, cancellationToken);
        _left -= data.Length;
        Bytes += data.Length;
    }

    public async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        CheckWhole();
        await SendAsync(End, cancellationToken);
        if ((await process.ExitAsync(cancellationToken)).Code != 0)
        {
            throw await GuestCopies.RefusalAsync(process, cancellationToken);
        }
    }

    public ValueTask DisposeAsync() => process.DisposeAsync();

    private void CheckWhole()
    {
        if (_left != 0)
        {
            throw new DriverException("EntryInvalid", $"{_left} bytes of the last file were not sent", permanent: true);
        }
    }

    /// <summary>A program that has given up takes nothing more: why, it has said.</summary>
    private async ValueTask SendAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var ended = process.ExitAsync(stop.Token);
        var sending = process.WriteAsync(data, stop.Token).AsTask();
        var first = await Task.WhenAny(ended, sending);
        if (first == ended && ended.IsCompletedSuccessfully && ended.Result.Code != 0)
        {
            await stop.CancelAsync();
            await sending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw await GuestCopies.RefusalAsync(process, cancellationToken);
        }

        await sending;
        await stop.CancelAsync();
    }
}
