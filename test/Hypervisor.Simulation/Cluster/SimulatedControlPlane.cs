using System.Runtime.CompilerServices;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Node;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Cluster;

/// <summary>The agent's calls over the simulated network; what the gRPC shells on both sides do, done here.</summary>
internal sealed class SimulatedControlPlane(
    SimulatedNetwork network, SimulatedProcess process, string host, NodeState node, Func<SimulatedServer?> server) : IControlPlane
{
    private static readonly TimeSpan CallDeadline = TimeSpan.FromSeconds(5);

    private string Authorization => $"Bearer {node.Identity.Credential}";

    public Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken) =>
        CallAsync((target, token) => target.Nodes.RegisterAsync(request, token), cancellationToken);

    public async IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(
        IAsyncEnumerable<HeartbeatRequest> beats, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var beat in beats.WithCancellation(cancellationToken))
        {
            yield return await CallAsync((target, _) => Task.FromResult(target.Heartbeats.Beat(beat, Authorization)), cancellationToken);
        }
    }

    public IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(WatchAssignmentsRequest request, CancellationToken cancellationToken) =>
        network.StreamAsync(
            process,
            host,
            server,
            (target, token) =>
            {
                var id = target.Authenticator.Require(request.NodeUid, Authorization).Id;
                return target.Assignments.WatchAsync(id, new ResourceVersion(request.ResourceVersion), token);
            },
            cancellationToken);

    public Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken) =>
        CallAsync(
            (target, token) => target.Statuses.ReportAsync(target.Authenticator.Require(request.NodeUid, Authorization).Id, request, token),
            cancellationToken);

    public Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) =>
        throw new RpcException(new Status(StatusCode.Unimplemented, "The simulation's machines have every image."));

    public IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(FetchBlobRequest request, CancellationToken cancellationToken) =>
        throw new RpcException(new Status(StatusCode.Unimplemented, "The simulation's machines have every image."));

    private Task<T> CallAsync<T>(Func<SimulatedServer, CancellationToken, Task<T>> handler, CancellationToken cancellationToken) =>
        network.CallAsync(process, host, server, handler, CallDeadline, cancellationToken);
}
