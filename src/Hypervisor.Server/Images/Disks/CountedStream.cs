using Hypervisor.Server.Images.Archives;

namespace Hypervisor.Server.Images.Disks;

/// <summary>So many of the next bytes of a stream, counted; asynchronous as the stream is. Leaves it open.</summary>
internal sealed class CountedStream(Stream inner, long most = long.MaxValue) : ForwardStream
{
    public long BytesRead { get; private set; }

    public override int Read(Span<byte> buffer) => throw new NotSupportedException();

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await inner.ReadAsync(buffer[..(int)Math.Min(buffer.Length, most - BytesRead)], cancellationToken);
        BytesRead += count;
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
}
