using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.ControlPlane;

/// <summary>
/// Everything an agent asks of the control plane: over gRPC in production, over the simulated network in the simulation.
/// </summary>
/// <remarks>
/// Failures are <see cref="Grpc.Core.RpcException"/> in both. Every unary call carries a deadline set by the
/// implementation; streams end by cancellation, by the peer, or with an exception.
/// </remarks>
internal interface IControlPlane
{
    Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken);

    /// <summary>Answers in the order of the beats.</summary>
    IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(IAsyncEnumerable<HeartbeatRequest> beats, CancellationToken cancellationToken);

    IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(WatchAssignmentsRequest request, CancellationToken cancellationToken);

    Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken);

    Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken);

    IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(FetchBlobRequest request, CancellationToken cancellationToken);
}
