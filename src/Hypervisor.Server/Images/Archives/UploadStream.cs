namespace Hypervisor.Server.Images.Archives;

/// <summary>An upload's pieces as one bounded stream, read asynchronously only. Owns the enumerator.</summary>
internal sealed class UploadStream(IAsyncEnumerator<ReadOnlyMemory<byte>> pieces, long maxBytes, TimeProvider time) : Stream
{
    private ReadOnlyMemory<byte> _piece;
    private Task<bool> _next = Task.FromResult(true);
    private bool _ended;

    public long BytesRead { get; private set; }

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_piece.Length == 0)
        {
            _piece = await NextAsync(cancellationToken);
        }

        var count = Math.Min(buffer.Length, _piece.Length);
        _piece[..count].CopyTo(buffer);
        _piece = _piece[count..];
        return count;
    }

    /// <summary>The next bytes, which are still to be read; fewer at the end.</summary>
    public async Task<ReadOnlyMemory<byte>> PeekAsync(int count, CancellationToken cancellationToken)
    {
        while (_piece.Length < count && await ReadAheadAsync(cancellationToken) is { Length: > 0 } joined)
        {
            _piece = joined;
        }

        return _piece[..Math.Min(count, _piece.Length)];
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <returns>What is there and the next piece; empty at the end.</returns>
    private async Task<byte[]> ReadAheadAsync(CancellationToken cancellationToken)
    {
        // Copied first: a piece is the sender's again once the next one is asked for.
        var present = _piece.ToArray();
        _piece = present;
        var next = await NextAsync(cancellationToken);
        return next.Length == 0 ? [] : [.. present, .. next.Span];
    }

    /// <returns>Empty at the end only.</returns>
    private async Task<ReadOnlyMemory<byte>> NextAsync(CancellationToken cancellationToken)
    {
        var since = time.GetTimestamp();
        ReadOnlyMemory<byte> piece = default;
        while (piece.Length == 0 && !_ended)
        {
            try
            {
                // Counted from the last byte: a client that sends empty pieces keeps no place among the imports.
                var left = Limits.Images.UploadSilence - time.GetElapsedTime(since);
                if (left <= TimeSpan.Zero)
                {
                    throw new TimeoutException();
                }

                _next = pieces.MoveNextAsync().AsTask();
                _ended = !await _next.WaitAsync(left, time, cancellationToken);
            }
            catch (TimeoutException exception)
            {
                throw new InvalidImageException($"The upload stopped: nothing arrived for {Limits.Images.UploadSilence.TotalSeconds} s; import it again.", exception);
            }

            if (!_ended)
            {
                piece = pieces.Current;
                BytesRead += piece.Length;
                if (BytesRead > maxBytes)
                {
                    throw new InvalidImageException($"The archive is larger than {maxBytes} bytes; the server's images.max_archive_size bounds it.");
                }
            }
        }

        return piece;
    }

    /// <summary>An enumerator that still waits for a client cannot be disposed; it ends with the client's call.</summary>
    public override async ValueTask DisposeAsync()
    {
        if (_next.IsCompleted)
        {
            await pieces.DisposeAsync();
        }

        await base.DisposeAsync();
    }

    public override void Flush()
    {
    }
}
