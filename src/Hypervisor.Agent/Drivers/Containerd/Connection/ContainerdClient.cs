using System.Collections.Concurrent;
using System.Net.Sockets;
using Containerd.Services.Containers.V1;
using Containerd.Services.Diff.V1;
using Containerd.Services.Events.V1;
using Containerd.Services.Introspection.V1;
using Containerd.Services.Leases.V1;
using Containerd.Services.Namespaces.V1;
using Containerd.Services.Snapshots.V1;
using Containerd.Services.Tasks.V1;
using Grpc.Core;
using Grpc.Net.Client;
using ContainerdImages = Containerd.Services.Images.V1.Images;
using ContainerdVersion = Containerd.Services.Version.V1.Version;
using ContentClient = Containerd.Services.Content.V1.Content.ContentClient;

namespace Hypervisor.Agent.Drivers.Containerd.Connection;

/// <summary>containerd's services over its socket, in one containerd namespace.</summary>
/// <remarks>
/// The channel connects on demand: a containerd that is not there fails calls at once with UNAVAILABLE, one that came back
/// serves the next call. There are no HTTP/2 keep-alive pings, because Go's gRPC server ends connections that ping more
/// often than every five minutes; the deadline that every call carries is what notices a mute containerd.
/// </remarks>
internal sealed class ContainerdClient : IDisposable
{
    private readonly GrpcChannel _channel;
    private readonly Lazy<ContentClient>[] _transfers;
    private readonly ConcurrentBag<GrpcChannel> _transferChannels = [];
    private readonly Metadata _headers;
    private readonly TimeProvider _time;
    private int _transfer;

    public ContainerdClient(ContainerdOptions options, TimeProvider time)
    {
        _time = time;
        _headers = new Metadata { { "containerd-namespace", options.Namespace } };
        SocketPath = options.SocketPath;
        Namespace = options.Namespace;
        Snapshotter = options.Snapshotter;
        _channel = Open(Timeout.InfiniteTimeSpan);
        _transfers = [.. Enumerable.Range(0, ContainerdLimits.TransferConnections).Select(_ => new Lazy<ContentClient>(OpenTransfers))];
        Containers = new(_channel);
        Content = new(_channel);
        Diff = new(_channel);
        Events = new(_channel);
        Images = new(_channel);
        Introspection = new(_channel);
        Leases = new(_channel);
        Namespaces = new(_channel);
        Snapshots = new(_channel);
        Tasks = new(_channel);
        Version = new(_channel);
    }

    public string SocketPath { get; }

    public string Namespace { get; }

    public string Snapshotter { get; }

    public Containers.ContainersClient Containers { get; }

    public ContentClient Content { get; }

    /// <summary>
    /// For large contents: containerd takes 64 KiB at a time of all that one connection carries together, so that parallel transfers
    /// need a connection each.
    /// </summary>
    public ContentClient Transfers => _transfers[(uint)Interlocked.Increment(ref _transfer) % (uint)_transfers.Length].Value;

    public Diff.DiffClient Diff { get; }

    public Events.EventsClient Events { get; }

    public ContainerdImages.ImagesClient Images { get; }

    public Introspection.IntrospectionClient Introspection { get; }

    public Leases.LeasesClient Leases { get; }

    public Namespaces.NamespacesClient Namespaces { get; }

    public Snapshots.SnapshotsClient Snapshots { get; }

    public Tasks.TasksClient Tasks { get; }

    public ContainerdVersion.VersionClient Version { get; }

    /// <summary>That ended while containerd was away, and are to be deleted when it is back; see <see cref="ContainerdLease"/>.</summary>
    public ConcurrentQueue<string> EndedLeases { get; } = new();

    /// <summary>Options of one call. Null as <paramref name="timeout"/> is for streams that are meant to last.</summary>
    /// <param name="lease">What the call makes is kept from the collector while this lease lives.</param>
    public CallOptions Call(TimeSpan? timeout, CancellationToken cancellationToken, string? lease = null)
    {
        var headers = _headers;
        if (lease is not null)
        {
            headers = [.. _headers, new Metadata.Entry("containerd-lease", lease)];
        }

        return new CallOptions(headers, _time.GetUtcNow().UtcDateTime + timeout, cancellationToken);
    }

    public CallOptions Call(CancellationToken cancellationToken) => Call(ContainerdLimits.Metadata, cancellationToken);

    public void Dispose()
    {
        _channel.Dispose();
        foreach (var channel in _transferChannels)
        {
            channel.Dispose();
        }
    }

    private GrpcChannel Open(TimeSpan idle)
    {
        var handler = new SocketsHttpHandler
        {
            ConnectCallback = (_, cancellationToken) => ConnectAsync(SocketPath, cancellationToken),
            UseProxy = false,
            PooledConnectionIdleTimeout = idle,
        };
        return GrpcChannel.ForAddress("http://containerd", new GrpcChannelOptions
        {
            HttpHandler = handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 64 << 20,
        });
    }

    private ContentClient OpenTransfers()
    {
        var channel = Open(ContainerdLimits.TransferIdle);
        _transferChannels.Add(channel);
        return new(channel);
    }

    private static async ValueTask<Stream> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
