using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

internal sealed partial class InstanceStreams
{
    public async Task CopyFromAsync(CopyFromRequest request, IServerStreamWriter<CopyPart> answers, ServerCallContext context)
    {
        var (id, epoch, access, place) = Redeem(context, StreamKind.CopyFrom);
        using var leave = place;
        using var outlet = new Outlet<CopyPart>(answers, time);
        await foreach (var part in access.CopyOutAsync(id, epoch, request.Path, context.CancellationToken))
        {
            await outlet.WriteAsync(part, context.CancellationToken);
        }
    }

    public async Task<CopyToResponse> CopyToAsync(IAsyncStreamReader<CopyToRequest> requests, ServerCallContext context)
    {
        var cancellationToken = context.CancellationToken;
        var (id, epoch, access, place) = Redeem(context, StreamKind.CopyTo);
        using var leave = place;
        if ((await FirstAsync(requests, cancellationToken)).Header is not { } header)
        {
            throw StreamErrors.Of(StatusCode.InvalidArgument, "NoRequest", "header: the first message must be the header");
        }

        await using var writer = await access.CopyInAsync(id, epoch, header, cancellationToken);
        while (await requests.MoveNext(cancellationToken))
        {
            switch (requests.Current.PartCase)
            {
                case CopyToRequest.PartOneofCase.Entry:
                    await writer.AddAsync(requests.Current.Entry, cancellationToken);
                    break;
                case CopyToRequest.PartOneofCase.Data when requests.Current.Data.Length <= StreamLimits.CopyChunkBytes:
                    await writer.WriteAsync(requests.Current.Data.Memory, cancellationToken);
                    break;
                default:
                    throw StreamErrors.Of(StatusCode.InvalidArgument, "EntryInvalid", $"after the header come entries and data of at most {StreamLimits.CopyChunkBytes} bytes");
            }
        }

        await writer.CompleteAsync(cancellationToken);
        return new CopyToResponse { Entries = writer.Entries, Bytes = writer.Bytes };
    }
}
