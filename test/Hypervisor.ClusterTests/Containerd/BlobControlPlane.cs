using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Protocol.V1;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>A control plane that has blobs in memory and nothing else.</summary>
internal sealed class BlobControlPlane : IControlPlane
{
    public ConcurrentDictionary<string, byte[]> Blobs { get; } = new();

    public ConcurrentDictionary<string, string> References { get; } = new();

    /// <summary>Registries of images, by reference.</summary>
    public ConcurrentDictionary<string, ImageSource> Sources { get; } = new();

    /// <summary>Of each image.</summary>
    public long MaxUnpackedBytes { get; set; }

    /// <summary>Every request for a blob, in order.</summary>
    public ConcurrentQueue<FetchBlobRequest> Requests { get; } = new();

    /// <summary>The next transfers break after so many bytes.</summary>
    public ConcurrentQueue<int> Breaks { get; } = new();

    public void Add(BusyboxImage image, string reference)
    {
        foreach (var (digest, content) in image.Blobs)
        {
            Blobs[digest] = content;
        }

        References[reference] = image.Digest;
    }

    public Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) =>
        References.TryGetValue(request.Image, out var digest)
            ? Task.FromResult(new ResolveImageResponse { Digest = digest, Source = Sources.GetValueOrDefault(request.Image), MaxUnpackedBytes = MaxUnpackedBytes })
            : throw new RpcException(new Status(StatusCode.NotFound, $"there is no image {request.Image}"));

    public async IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(
        FetchBlobRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield();
        Requests.Enqueue(request);
        if (!Blobs.TryGetValue(request.Digest, out var content))
        {
            throw new RpcException(new Status(StatusCode.NotFound, "no such blob"));
        }

        var end = content.Length;
        if (content.Length > 500_000 && Breaks.TryDequeue(out var after))
        {
            end = Math.Min(content.Length, (int)request.Offset + after);
        }

        yield return new FetchBlobResponse { TotalBytes = content.Length };
        for (var offset = (int)request.Offset; offset < end; offset += 256 << 10)
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return new FetchBlobResponse { Data = ByteString.CopyFrom(content, offset, Math.Min(256 << 10, end - offset)) };
        }

        if (end < content.Length)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "cut"));
        }
    }

    public Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(IAsyncEnumerable<HeartbeatRequest> beats, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(WatchAssignmentsRequest request, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken) =>
        throw new NotSupportedException();
}
