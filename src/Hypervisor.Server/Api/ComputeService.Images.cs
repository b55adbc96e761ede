using System.Runtime.CompilerServices;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api;

internal sealed partial class ComputeService : Protocol.V1.ComputeService.ComputeServiceBase
{
    public override Task<ListImagesResponse> ListImages(ListImagesRequest request, ServerCallContext context) =>
        images.ListAsync(request, context.CancellationToken);

    public override Task<Image> GetImage(GetImageRequest request, ServerCallContext context) =>
        images.GetAsync(request, context.CancellationToken);

    public override Task PullImage(PullImageRequest request, IServerStreamWriter<PullImageResponse> responseStream, ServerCallContext context) =>
        pulls.PullAsync(request, message => responseStream.WriteAsync(message, context.CancellationToken), context.CancellationToken);

    public override async Task<Image> ImportImage(IAsyncStreamReader<ImportImageRequest> requestStream, ServerCallContext context)
    {
        if (!await requestStream.MoveNext(context.CancellationToken) || requestStream.Current.Header is not { } header)
        {
            throw ApiErrors.InvalidArgument("header", "The first message must be the header.");
        }

        return await images.ImportAsync(header, PiecesAsync(requestStream, context.CancellationToken), context.CancellationToken);
    }

    public override Task ImportImageFromUrl(
        ImportImageFromUrlRequest request, IServerStreamWriter<ImportImageFromUrlResponse> responseStream, ServerCallContext context) =>
        urls.ImportAsync(request, message => responseStream.WriteAsync(message, context.CancellationToken), context.CancellationToken);

    public override Task<DeleteImageResponse> DeleteImage(DeleteImageRequest request, ServerCallContext context) =>
        images.DeleteAsync(request, context.CancellationToken);

    private static async IAsyncEnumerable<ReadOnlyMemory<byte>> PiecesAsync(
        IAsyncStreamReader<ImportImageRequest> requests, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (await requests.MoveNext(cancellationToken))
        {
            if (requests.Current.PartCase != ImportImageRequest.PartOneofCase.Chunk)
            {
                throw ApiErrors.InvalidArgument("chunk", "Every message after the header must be a chunk.");
            }

            yield return requests.Current.Chunk.Memory;
        }
    }
}
