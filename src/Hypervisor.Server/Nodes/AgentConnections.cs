using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>Connections to the agents, opened when they are first needed. Not encrypted yet, as everything between server and agents.</summary>
internal sealed class AgentConnections : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, GrpcChannel> _channels = new(StringComparer.Ordinal);

    /// <summary>The agent at its registered address, and what makes it answer: the secret of its registration.</summary>
    /// <returns>Null for a node that has not registered an address.</returns>
    public (AgentService.AgentServiceClient Client, Metadata Headers)? To(NodeEntry node)
    {
        if (node.RegistrationRecord is not { Credential.Length: > 0, Inventory.AgentAddress.Length: > 0 } registration)
        {
            return null;
        }

        var headers = new Metadata { { "authorization", "Bearer " + registration.Credential } };
        return (new AgentService.AgentServiceClient(Channel(registration.Inventory.AgentAddress)), headers);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var channel in _channels.Values)
            {
                channel.Dispose();
            }

            _channels.Clear();
        }
    }

    private GrpcChannel Channel(string address)
    {
        lock (_gate)
        {
            if (!_channels.TryGetValue(address, out var channel))
            {
                _channels.Add(address, channel = Open(address));
            }

            return channel;
        }
    }

    private static GrpcChannel Open(string address) => GrpcChannel.ForAddress("http://" + address, new GrpcChannelOptions
    {
        HttpHandler = new SocketsHttpHandler
        {
            UseProxy = false,
            AllowAutoRedirect = false,
            ConnectTimeout = Limits.Streams.Connect,
            KeepAlivePingDelay = Limits.Streams.KeepAlivePing,
            KeepAlivePingTimeout = Limits.Streams.KeepAliveTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            PooledConnectionIdleTimeout = Limits.Streams.Idle,
            EnableMultipleHttp2Connections = true,
        },
        DisposeHttpClient = true,
        MaxReceiveMessageSize = Limits.Streams.MessageBytes,
    });
}
