using System.Runtime.CompilerServices;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Agent.Node;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.ControlPlane;

/// <summary>The control plane over gRPC. Deadlines and credential are set here; reconnecting is up to the callers' loops.</summary>
internal sealed class GrpcControlPlane(GrpcChannel channel, NodeState node, TimeProvider time) : IControlPlane
{
    /// <summary>Ends of its own accord after its callers would have reopened it: a stream that nobody reads is not kept.</summary>
    private static readonly TimeSpan AssignmentDeadline = Limits.AssignmentStreamLifetime + Limits.CallDeadline;

    private readonly ClusterService.ClusterServiceClient _cluster = new(channel);
    private readonly AssignmentService.AssignmentServiceClient _assignments = new(channel);

    /// <summary>HTTP/2 with pings, so that a peer that vanished without a word is noticed within seconds.</summary>
    /// <param name="address">http or https, host and port.</param>
    public static GrpcChannel Open(Uri address, ILoggerFactory loggers) => GrpcChannel.ForAddress(address, new GrpcChannelOptions
    {
        HttpHandler = new SocketsHttpHandler
        {
            ConnectTimeout = Limits.CallDeadline / 2,
            EnableMultipleHttp2Connections = true,
            KeepAlivePingDelay = Limits.KeepAlivePingDelay,
            KeepAlivePingTimeout = Limits.KeepAlivePingTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            UseProxy = false,
        },
        DisposeHttpClient = true,
        InitialReconnectBackoff = Limits.RetryMinimum,
        MaxReconnectBackoff = Limits.ReconnectMaximum,
        MaxReceiveMessageSize = Limits.MessageBytes,
        MaxSendMessageSize = Limits.MessageBytes,
        LoggerFactory = loggers,
    });

    public async Task<RegisterNodeResponse> RegisterNodeAsync(RegisterNodeRequest request, CancellationToken cancellationToken) =>
        await _cluster.RegisterNodeAsync(request, Options(Limits.CallDeadline, cancellationToken));

    public async IAsyncEnumerable<HeartbeatResponse> HeartbeatAsync(
        IAsyncEnumerable<HeartbeatRequest> beats, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // No deadline: it lives as long as it is answered, which its reader watches.
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = _cluster.Heartbeat(Options(null, stopping.Token));
        var sending = SendAsync(call.RequestStream, beats, stopping.Token);
        try
        {
            while (await call.ResponseStream.MoveNext(stopping.Token))
            {
                yield return call.ResponseStream.Current;
            }
        }
        finally
        {
            stopping.Cancel();

            // Its failure is the call's, which the reader has got already as a status.
            await sending.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public async IAsyncEnumerable<AssignmentEvent> WatchAssignmentsAsync(
        WatchAssignmentsRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var call = _assignments.WatchAssignments(request, Options(AssignmentDeadline, cancellationToken));
        while (await call.ResponseStream.MoveNext(cancellationToken))
        {
            yield return call.ResponseStream.Current;
        }
    }

    public async Task<ReportStatusResponse> ReportStatusAsync(ReportStatusRequest request, CancellationToken cancellationToken) =>
        await _assignments.ReportStatusAsync(request, Options(Limits.CallDeadline, cancellationToken));

    public async Task<ResolveImageResponse> ResolveImageAsync(ResolveImageRequest request, CancellationToken cancellationToken) =>
        await _assignments.ResolveImageAsync(request, Options(Limits.ResolveDeadline, cancellationToken));

    public async IAsyncEnumerable<FetchBlobResponse> FetchBlobAsync(
        FetchBlobRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var call = _assignments.FetchBlob(request, Options(Limits.BlobDeadline, cancellationToken));
        while (await call.ResponseStream.MoveNext(cancellationToken))
        {
            yield return call.ResponseStream.Current;
        }
    }

    private static async Task SendAsync(
        IClientStreamWriter<HeartbeatRequest> requests, IAsyncEnumerable<HeartbeatRequest> beats, CancellationToken cancellationToken)
    {
        await foreach (var beat in beats.WithCancellation(cancellationToken))
        {
            await requests.WriteAsync(beat, cancellationToken);
        }

        await requests.CompleteAsync();
    }

    private CallOptions Options(TimeSpan? deadline, CancellationToken cancellationToken)
    {
        var headers = new Metadata();
        if (node.Identity.Credential is { Length: > 0 } credential)
        {
            headers.Add("authorization", $"Bearer {credential}");
        }

        DateTime? until = deadline is { } limit ? time.GetUtcNow().UtcDateTime + limit : null;
        return new CallOptions(headers, until, cancellationToken);
    }
}
