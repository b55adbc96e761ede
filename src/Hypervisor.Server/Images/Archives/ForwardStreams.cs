namespace Hypervisor.Server.Images.Archives;

/// <summary>What the streams here have in common: reading forward.</summary>
internal abstract class ForwardStream : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public abstract override int Read(Span<byte> buffer);

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>A part of a file; several may read one file in turn. Leaves the file open.</summary>
/// <param name="cancellationToken">
/// Looked at with each read: whoever unpacks, checks or copies what is read here ends soon after it, however large the part.
/// </param>
internal sealed class BoundedStream(FileStream file, long offset, long length, CancellationToken cancellationToken) : ForwardStream
{
    private long _read;

    public override long Length => length;

    /// <summary>Bytes read so far.</summary>
    public long BytesRead => _read;

    public override int Read(Span<byte> buffer)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var count = RandomAccess.Read(file.SafeFileHandle, buffer[..(int)Math.Min(buffer.Length, length - _read)], offset + _read);
        _read += count;
        return count;
    }

    /// <summary>Begins anew.</summary>
    public void Rewind() => _read = 0;
}

/// <summary>The first bytes, read already to look at them, before the rest; asynchronous like the rest.</summary>
internal sealed class PrependedStream(ReadOnlyMemory<byte> head, Stream rest) : ForwardStream
{
    private ReadOnlyMemory<byte> _head = head;

    public override int Read(Span<byte> buffer) => throw new NotSupportedException();

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_head.Length == 0)
        {
            return await rest.ReadAsync(buffer, cancellationToken);
        }

        var count = Math.Min(buffer.Length, _head.Length);
        _head[..count].CopyTo(buffer);
        _head = _head[count..];
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
}

/// <summary>Hashes and counts what is read through it, up to a bound.</summary>
internal sealed class HashingStream(Stream inner, System.Security.Cryptography.IncrementalHash hash, Action<int> counted) : ForwardStream
{
    public override int Read(Span<byte> buffer)
    {
        var count = inner.Read(buffer);
        hash.AppendData(buffer[..count]);
        counted(count);
        return count;
    }
}
