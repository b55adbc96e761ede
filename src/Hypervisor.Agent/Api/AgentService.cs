using Grpc.Core;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Node;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Api;

/// <summary>What the server asks of this agent.</summary>
internal sealed class AgentService(NodeState node, Reconciler reconciler, NodeProfile profile, InstanceStreams streams)
    : Protocol.V1.AgentService.AgentServiceBase
{
    public override Task<AgentInfo> GetAgentInfo(GetAgentInfoRequest request, ServerCallContext context) => Task.FromResult(new AgentInfo
    {
        Version = profile.AgentVersion,
        NodeUid = node.Id.Value,
        Instances = reconciler.Count,
        ResourceVersion = node.AppliedVersion.Value,
    });

    public override Task<OpenStreamResponse> OpenStream(OpenStreamRequest request, ServerCallContext context) => Task.FromResult(streams.Open(request));

    public override Task StreamStats(AgentStatsRequest request, IServerStreamWriter<InstanceStats> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.StatsAsync(request, responseStream, context.CancellationToken));

    public override Task StreamLogs(AgentLogsRequest request, IServerStreamWriter<AgentLogsResponse> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.LogsAsync(request, responseStream, context.CancellationToken));

    public override Task Exec(
        IAsyncStreamReader<ExecInput> requestStream, IServerStreamWriter<ExecOutput> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.ExecAsync(requestStream, responseStream, context));

    public override Task AttachConsole(
        IAsyncStreamReader<ConsoleInput> requestStream, IServerStreamWriter<ConsoleOutput> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.AttachAsync(requestStream, responseStream, context));

    public override Task AttachVnc(
        IAsyncStreamReader<VncInput> requestStream, IServerStreamWriter<VncOutput> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.AttachVncAsync(requestStream, responseStream, context));

    public override Task CopyFrom(CopyFromRequest request, IServerStreamWriter<CopyPart> responseStream, ServerCallContext context) =>
        StreamErrors.GuardAsync(() => streams.CopyFromAsync(request, responseStream, context));

    public override async Task<CopyToResponse> CopyTo(IAsyncStreamReader<CopyToRequest> requestStream, ServerCallContext context)
    {
        CopyToResponse? response = null;
        await StreamErrors.GuardAsync(async () => response = await streams.CopyToAsync(requestStream, context));
        return response!;
    }
}
