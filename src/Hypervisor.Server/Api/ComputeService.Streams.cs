using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Api;

internal sealed partial class ComputeService : Protocol.V1.ComputeService.ComputeServiceBase
{
    public override Task<InstanceStats> GetInstanceStats(GetInstanceStatsRequest request, ServerCallContext context) =>
        streams.StatsAsync(request, context.CancellationToken);

    public override Task WatchInstanceStats(
        WatchInstanceStatsRequest request, IServerStreamWriter<InstanceStats> responseStream, ServerCallContext context) =>
        streams.WatchStatsAsync(request, responseStream, context.CancellationToken);

    public override Task AttachConsole(
        IAsyncStreamReader<ConsoleInput> requestStream, IServerStreamWriter<ConsoleOutput> responseStream, ServerCallContext context) =>
        streams.AttachAsync(requestStream, responseStream, context.CancellationToken);

    public override Task<OpenVncResponse> OpenVnc(OpenVncRequest request, ServerCallContext context) =>
        streams.OpenVncAsync(request, context.CancellationToken);

    public override Task AttachVnc(
        IAsyncStreamReader<VncInput> requestStream, IServerStreamWriter<VncOutput> responseStream, ServerCallContext context) =>
        streams.AttachVncAsync(requestStream, responseStream, context.CancellationToken);

    public override Task Exec(
        IAsyncStreamReader<ExecInput> requestStream, IServerStreamWriter<ExecOutput> responseStream, ServerCallContext context) =>
        streams.ExecAsync(requestStream, responseStream, context.CancellationToken);

    public override Task StreamLogs(
        StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> responseStream, ServerCallContext context) =>
        logs.ReadAsync(request, responseStream, context.CancellationToken);

    public override Task CopyFrom(CopyFromRequest request, IServerStreamWriter<CopyPart> responseStream, ServerCallContext context) =>
        streams.CopyFromAsync(request, responseStream, context.CancellationToken);

    public override Task<CopyToResponse> CopyTo(IAsyncStreamReader<CopyToRequest> requestStream, ServerCallContext context) =>
        streams.CopyToAsync(requestStream, context.CancellationToken);
}
