using Grpc.Core;
using Hypervisor.Agent.Copying;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

internal sealed partial class InstanceStreams
{
    public async Task CopyFromAsync(CopyFromRequest request, IServerStreamWriter<CopyPart> answers, ServerCallContext context)
    {
        var (id, epoch, access, place) = Redeem(context, StreamKind.CopyFrom);
        using var leave = place;
        using var outlet = new Outlet<CopyPart>(answers, time);
        using var root = await access.OpenRootAsync(id, epoch, context.CancellationToken);
        await foreach (var part in TreeReader.ReadAsync(root, request.Path, context.CancellationToken))
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

        using var root = await access.OpenRootAsync(id, epoch, cancellationToken);
        using var writer = new TreeWriter(root, header.Path, header.Name, random);
        while (await requests.MoveNext(cancellationToken))
        {
            switch (requests.Current.PartCase)
            {
                case CopyToRequest.PartOneofCase.Entry:
                    writer.Add(requests.Current.Entry);
                    break;
                case CopyToRequest.PartOneofCase.Data when requests.Current.Data.Length <= StreamLimits.CopyChunkBytes:
                    writer.Write(requests.Current.Data.Span);
                    break;
                default:
                    throw StreamErrors.Of(StatusCode.InvalidArgument, "EntryInvalid", $"after the header come entries and data of at most {StreamLimits.CopyChunkBytes} bytes");
            }
        }

        writer.Complete();
        return new CopyToResponse { Entries = writer.Entries, Bytes = writer.Bytes };
    }
}
