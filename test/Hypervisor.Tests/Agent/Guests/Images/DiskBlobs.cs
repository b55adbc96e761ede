using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Agent.Guests.Images;

/// <summary>A control plane that has the blobs of disk images and nothing else.</summary>
internal sealed class DiskBlobs : IControlPlane
{
    public Dictionary<string, byte[]> Content { get; } = [];

    public List<(string Digest, long Offset)> Fetches { get; } = [];

    /// <summary>Every transfer breaks after so many bytes of the blob.</summary>
    public long? BreakAfter { get; set; }

    public static string DigestOf(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));

    public string Add(byte[] content)
    {
        Content[DigestOf(content)] = content;
        return DigestOf(content);
    }

    public (string Digest, byte[] Disk) AddDisk(string format, byte[] disk, string user = "debian")
    {
        var size = format == "raw" ? disk.Length : 1L << 30;
        var config = Encoding.UTF8.GetBytes($$"""{"format":"{{format}}","architecture":"amd64","os":"linux","defaultUser":"{{user}}","types":["vm"],"virtualSizeBytes":{{size}}}""");
        return (Manifest(config, ($"application/vnd.hypervisor.disk.v1.{format}", disk)), disk);
    }

    public string AddSet()
    {
        var rootfs = new byte[512];
        var config = Encoding.UTF8.GetBytes("""{"format":"kernel","architecture":"amd64","os":"linux","types":["microvm"],"virtualSizeBytes":512}""");
        return Manifest(
            config, ("application/vnd.hypervisor.kernel.v1", "kernel"u8.ToArray()), ("application/vnd.hypervisor.initramfs.v1", "initramfs"u8.ToArray()),
            ("application/vnd.hypervisor.disk.v1.raw", rootfs));
    }

    public async IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(FetchBlobRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        lock (Fetches)
        {
            Fetches.Add((request.Digest, request.Offset));
        }

        await Task.Yield();
        if (!Content.TryGetValue(request.Digest, out var content))
        {
            throw new RpcException(new Status(StatusCode.NotFound, "no such blob"));
        }

        for (var offset = (int)request.Offset; ; offset += 256 * 1024)
        {
            if (offset > BreakAfter)
            {
                throw new RpcException(new Status(StatusCode.Unavailable, "broken"));
            }

            var first = offset == request.Offset;
            if (!first && offset >= content.Length)
            {
                yield break;
            }

            yield return new FetchBlobResponse
            {
                TotalBytes = first ? content.Length : 0,
                Data = ByteString.CopyFrom(content.AsSpan(offset, Math.Min(256 * 1024, content.Length - offset))),
            };
        }
    }

    public Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

    public IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(IAsyncEnumerable<HeartbeatRequest> beats, CancellationToken cancellationToken) => throw new NotSupportedException();

    public IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(WatchAssignmentsRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

    public Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

    /// <summary>What names mean.</summary>
    public Dictionary<string, ResolveImageResponse> Names { get; } = [];

    public Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) => Task.FromResult(Names[request.Image]);

    private string Manifest(byte[] config, params (string Type, byte[] Content)[] files)
    {
        Add(config);
        var layers = files.Select(file => $$"""{"mediaType":"{{file.Type}}","digest":"{{Add(file.Content)}}","size":{{file.Content.Length}}}""");
        return Add(Encoding.UTF8.GetBytes(
            $$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.hypervisor.disk-image.config.v1+json","digest":"{{DigestOf(config)}}","size":{{config.Length}}},"layers":[{{string.Join(',', layers)}}]}"""));
    }
}
