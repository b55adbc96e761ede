using Grpc.Net.Client;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>
/// One HTTP/2 connection for at most <see cref="MaxNodes"/> agents, each with streams of its own: as the agents of a site behind one gateway, and few
/// enough that both streams of each and their calls stay below what the server takes on a connection.
/// </summary>
internal sealed class FleetConnection : IDisposable
{
    public const int MaxNodes = 100;

    private readonly GrpcChannel _channel;

    public FleetConnection(Uri server)
    {
        _channel = GrpcChannel.ForAddress(server, new GrpcChannelOptions
        {
            DisposeHttpClient = true,
            HttpHandler = new SocketsHttpHandler
            {
                UseProxy = false,
                AllowAutoRedirect = false,
                EnableMultipleHttp2Connections = false,
                ConnectTimeout = TimeSpan.FromSeconds(10),
                KeepAlivePingDelay = TimeSpan.FromSeconds(15),
                KeepAlivePingTimeout = TimeSpan.FromSeconds(30),
                PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
                ActivityHeadersPropagator = null,
            },
        });
        Nodes = new(_channel);
        Assignments = new(_channel);
    }

    public ClusterService.ClusterServiceClient Nodes { get; }

    public AssignmentService.AssignmentServiceClient Assignments { get; }

    public void Dispose() => _channel.Dispose();
}
