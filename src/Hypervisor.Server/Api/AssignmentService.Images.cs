using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Replicas;

namespace Hypervisor.Server.Api;

internal sealed partial class AssignmentService
{
    public override Task<ResolveImageResponse> ResolveImage(ResolveImageRequest request, ServerCallContext context)
    {
        nodes.RequireAny(GrpcAuthorization.Of(context));
        return resolution.ResolveAsync(request, context.CancellationToken);
    }

    public override async Task FetchBlob(FetchBlobRequest request, IServerStreamWriter<FetchBlobResponse> responseStream, ServerCallContext context)
    {
        nodes.RequireAny(GrpcAuthorization.Of(context));
        FileStream blob;
        try
        {
            blob = images.Fetch(request.Digest, request.Offset);
        }
        catch (RpcException missing) when (missing.StatusCode == StatusCode.NotFound && !ReplicaCalls.IsForwarded(context))
        {
            // What was imported at another server is there only.
            if (await replicas.FetchBlobAsync(request, answer => SendAsync(answer, responseStream, context), context))
            {
                return;
            }

            throw;
        }

        await using var held = blob;
        var first = true;
        while (true)
        {
            // Each message owns its bytes: the transport may still hold the last one.
            var buffer = new byte[(int)Math.Min(Limits.Images.FetchChunkBytes, blob.Length - blob.Position)];
            await blob.ReadExactlyAsync(buffer, context.CancellationToken);
            if (!first && buffer.Length == 0)
            {
                return;
            }

            var message = new FetchBlobResponse { TotalBytes = first ? blob.Length : 0, Data = UnsafeByteOperations.UnsafeWrap(buffer) };
            await SendAsync(message, responseStream, context);
            first = false;
        }
    }

    private async Task SendAsync(FetchBlobResponse message, IServerStreamWriter<FetchBlobResponse> answers, ServerCallContext context)
    {
        try
        {
            await answers.WriteAsync(message, context.CancellationToken).WaitAsync(Limits.Images.UploadSilence, time, context.CancellationToken);
        }
        catch (TimeoutException)
        {
            throw ApiErrors.Aborted(
                "SLOW_READER",
                $"Nothing was read for {Limits.Images.UploadSilence.TotalSeconds} s; fetch the rest from where it stopped.");
        }
    }
}
