using dotnet_etcd;
using dotnet_etcd.interfaces;
using Grpc.Net.Client;
using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>One member of etcd, with a connection of its own.</summary>
internal sealed class EtcdEndpoint : IDisposable
{
    private readonly GrpcChannel _channel;
    private readonly EtcdClient _client;

    public EtcdEndpoint(Uri address, EtcdTls? tls, TimeSpan dialTimeout)
    {
        Address = address;

        // A channel of ours instead of dotnet-etcd's: that one repeats calls on its own, also transactions whose first attempt
        // may have taken effect, and takes neither a clock nor one deadline for all attempts.
        _channel = GrpcChannel.ForAddress(address, new GrpcChannelOptions
        {
            HttpHandler = Handler(tls, dialTimeout),
            DisposeHttpClient = true,
            MaxReceiveMessageSize = Limits.Etcd.ReceivedMessageBytes,
            MaxSendMessageSize = 2 * StoreLimits.MaxTransactionBytes,
            MaxRetryAttempts = 1,
            InitialReconnectBackoff = Limits.Etcd.ReconnectMinimum,
            MaxReconnectBackoff = Limits.Etcd.ReconnectMaximum,
        });
        _client = new EtcdClient(_channel.CreateCallInvoker());
        Connection = _client.GetConnection();
    }

    public Uri Address { get; }

    public IConnection Connection { get; }

    public void Dispose()
    {
        _client.Dispose();
        _channel.Dispose();
    }

    private static SocketsHttpHandler Handler(EtcdTls? tls, TimeSpan dialTimeout)
    {
        var handler = new SocketsHttpHandler
        {
            ConnectTimeout = dialTimeout,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            KeepAlivePingDelay = Limits.Etcd.PingDelay,
            KeepAlivePingTimeout = Limits.Etcd.PingTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            UseProxy = false,
        };
        if (tls is not null)
        {
            handler.SslOptions = tls.ClientOptions();
        }

        return handler;
    }
}

/// <summary>All members, and the one that is asked first.</summary>
internal sealed class EtcdEndpoints(EtcdConfiguration configuration, EtcdTls? tls) : IDisposable
{
    private readonly EtcdEndpoint[] _endpoints =
        [.. configuration.Endpoints.Select(address =>
            new EtcdEndpoint(address, address.Scheme == "https" ? tls : null, configuration.DialTimeout))];

    private int _current;

    public int Count => _endpoints.Length;

    public EtcdEndpoint Current => _endpoints[Volatile.Read(ref _current)];

    /// <summary>The endpoint failed: the next one is asked from now on, unless somebody moved on already.</summary>
    public void MoveOn(EtcdEndpoint failed)
    {
        var index = Array.IndexOf(_endpoints, failed);
        Interlocked.CompareExchange(ref _current, (index + 1) % _endpoints.Length, index);
    }

    public void Dispose()
    {
        foreach (var endpoint in _endpoints)
        {
            endpoint.Dispose();
        }
    }
}
