using System.IO.Compression;
using Containerd.Services.Content.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Images;

/// <summary>
/// Decompresses layers that have arrived and were verified, several at once, so that containerd is left with applying plain
/// archives: it applies one layer after the other, and decompresses at about a fifth of the speed that is possible here.
/// </summary>
/// <remarks>
/// Only ever a shortcut: where it cannot be taken, containerd is given the layer as it came, and says what is wrong with it.
/// </remarks>
internal sealed class PlainLayers(ContainerdClient client, TimeProvider time, IRandomSource random)
{
    private const string PlainType = "application/vnd.oci.image.layer.v1.tar";

    private static readonly string[] _gzipTypes =
    [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ];

    /// <summary>Whether there is something to gain.</summary>
    public static bool Suits(ImageDescriptor layer) =>
        _gzipTypes.Contains(layer.MediaType) && layer.Size is >= ContainerdLimits.SmallestPlainLayer and <= ContainerdLimits.LargestPlainLayer;

    /// <param name="layer">Is in the content store.</param>
    /// <param name="diffId">What the plain archive's digest has to be.</param>
    /// <param name="allowance">What the image may unpack to. Nothing is taken from it: that is for who unpacks.</param>
    /// <returns>Holds the plain archive until it is disposed of; null when containerd shall decompress.</returns>
    /// <exception cref="InvalidDataException">More than the allowance, beyond which nothing was written.</exception>
    public async Task<PlainLayer?> MakeAsync(ImageDescriptor layer, string diffId, UnpackAllowance allowance, CancellationToken cancellationToken)
    {
        ContainerdLease? lease = null;
        var reference = "hypervisor-plain-" + random.NewUid();
        try
        {
            // A lease of its own: the archive goes with it unless something else needs that content, which deleting it would not ask.
            lease = await ContainerdLease.OpenAsync(client, random.NewUid(), time.GetUtcNow(), cancellationToken, collect: true);
            var size = await DecompressAsync(layer, diffId, allowance, reference, lease.Id, cancellationToken);
            var made = new PlainLayer(new ImageDescriptor(PlainType, diffId, size), lease);
            lease = null;
            return made;
        }
        catch (Exception error) when (error is RpcException or NotGzipException or OperationCanceledException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return null;
        }
        finally
        {
            if (lease is not null)
            {
                await AbortAsync(reference);
                await lease.DisposeAsync();
            }
        }
    }

    private async Task<long> DecompressAsync(
        ImageDescriptor layer, string diffId, UnpackAllowance allowance, string reference, string lease, CancellationToken cancellationToken)
    {
        var limit = allowance.Of(layer);
        await using var write = new ContentWrite(client, time, reference, diffId, lease, cancellationToken);
        using var read = client.Transfers.Read(new ReadContentRequest { Digest = layer.Digest }, client.Call(ContainerdLimits.Unpack, write.Ended.Token));
        await using var packed = new ContentStream(read.ResponseStream);
        await using var plain = new GZipStream(packed, CompressionMode.Decompress);
        var buffer = GC.AllocateUninitializedArray<byte>(ContainerdLimits.ChunkBytes);
        try
        {
            await write.BeginAsync();
            while (await FillAsync(plain, buffer, write.Ended.Token) is > 0 and var count)
            {
                if (write.Offset + count > limit)
                {
                    throw allowance.Excess(layer, write.Offset + count);
                }

                await write.AppendAsync(buffer.AsMemory(0, count));
            }

            var size = write.Offset;
            await CommitAsync(write, size);
            return size;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            // Of another image, or of the same layer packed otherwise: under our lease now as well.
            var info = await client.Content.InfoAsync(new InfoRequest { Digest = diffId }, client.Call(cancellationToken));
            return info.Info.Size;
        }
    }

    private static async Task CommitAsync(ContentWrite write, long size)
    {
        try
        {
            await write.CommitAsync(size, new Dictionary<string, string>());
        }
        catch (InvalidDataException error)
        {
            throw new NotGzipException(error);
        }
    }

    /// <summary>A whole piece but at the end: each costs a round trip.</summary>
    private static async Task<int> FillAsync(Stream plain, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        try
        {
            return await plain.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken);
        }
        catch (InvalidDataException error)
        {
            throw new NotGzipException(error);
        }
    }

    private async Task AbortAsync(string reference)
    {
        try
        {
            await client.Content.AbortAsync(new AbortRequest { Ref = reference }, client.Call(CancellationToken.None));
        }
        catch (RpcException)
        {
            // Never begun, or containerd is away: what was written goes with its lease.
        }
    }

    /// <summary>Not what its type says, or not what the configuration says: containerd's to judge.</summary>
    private sealed class NotGzipException(Exception inner) : Exception(inner.Message, inner);

    /// <summary>A blob as containerd sends it.</summary>
    private sealed class ContentStream(IAsyncStreamReader<ReadContentResponse> parts) : Stream
    {
        private ReadOnlyMemory<byte> _rest;

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
            while (_rest.IsEmpty)
            {
                if (!await parts.MoveNext(cancellationToken))
                {
                    return 0;
                }

                _rest = parts.Current.Data.Memory;
            }

            var count = Math.Min(buffer.Length, _rest.Length);
            _rest[..count].CopyTo(buffer);
            _rest = _rest[count..];
            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}

/// <summary>A layer's plain archive in the content store, as long as it is not disposed of.</summary>
internal sealed class PlainLayer(ImageDescriptor descriptor, ContainerdLease lease) : IAsyncDisposable
{
    public ImageDescriptor Descriptor => descriptor;

    public ValueTask DisposeAsync() => lease.DisposeAsync();
}
