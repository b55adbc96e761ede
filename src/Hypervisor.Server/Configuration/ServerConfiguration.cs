using System.Net;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Configuration;

/// <summary>Everything the server can be told, with what it does when told nothing. See <c>configs/server.example.yaml</c>.</summary>
internal sealed record ServerConfiguration
{
    /// <summary><c>grpc_addr</c>: where clients and agents call.</summary>
    public HostPort GrpcAddress { get; init; } = new("127.0.0.1", 50051);

    /// <summary><c>advertise_addr</c>: what other servers of the cluster call; null means that <c>grpc_addr</c> says it.</summary>
    public HostPort? AdvertiseAddress { get; init; }

    /// <summary>With the machine's name where <c>grpc_addr</c> is every address.</summary>
    public HostPort AdvertisedAddress =>
        AdvertiseAddress ?? (GrpcAddress.IsAny ? GrpcAddress with { Host = Environment.MachineName } : GrpcAddress);

    /// <summary><c>http_addr</c>: REST, its description, health and metrics.</summary>
    public HostPort HttpAddress { get; init; } = new("127.0.0.1", 8080);

    /// <summary><c>allowed_origins</c>: of other pages than the server's own that may call <c>http_addr</c> from a browser.</summary>
    public IReadOnlyList<Uri> AllowedOrigins { get; init; } = [];

    /// <summary><c>data_dir</c>: the embedded store and the images.</summary>
    public string DataDirectory { get; init; } = "/var/lib/hypervisor/server";

    /// <summary><c>insecure</c>: listening on other addresses than loopback is allowed although nobody is authenticated.</summary>
    public bool Insecure { get; init; }

    /// <summary><c>heartbeat</c></summary>
    public HeartbeatConfiguration Heartbeat { get; init; } = new();

    /// <summary><c>etcd</c>; null means the embedded store.</summary>
    public EtcdConfiguration? Etcd { get; init; }

    /// <summary><c>network</c></summary>
    public ServerNetworkConfiguration Network { get; init; } = new();

    /// <summary><c>scheduler.strategy</c>: <c>spread</c>, <c>binpack</c> or <c>balanced</c>, for instances that name none.</summary>
    public PlacementStrategy SchedulerStrategy { get; init; } = PlacementStrategy.Spread;

    /// <summary><c>images</c></summary>
    public ImagesConfiguration Images { get; init; } = new();

    /// <summary><c>registries</c>: those that need more than a public address and an authority that the system knows.</summary>
    public IReadOnlyList<RegistryConfiguration> Registries { get; init; } = [];

    /// <summary><c>log.level</c></summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary><c>log.format</c></summary>
    public LogStyle LogFormat { get; init; } = LogStyle.Text;

    /// <summary><c>telemetry</c></summary>
    public TelemetryConfiguration Telemetry { get; init; } = new();
}

/// <summary>Where traces go.</summary>
internal sealed record TelemetryConfiguration
{
    /// <summary><c>telemetry.otlp_endpoint</c>: an OTLP collector over gRPC; null means nowhere.</summary>
    public Uri? OtlpEndpoint { get; init; }
}

/// <summary>How agents show that they live. Agents learn both values from the server.</summary>
internal sealed record HeartbeatConfiguration
{
    /// <summary><c>heartbeat.interval</c>: 100 ms to 1 min.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary><c>heartbeat.timeout</c>: the lease; at least twice the interval, at most 10 min.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Where etcd is and how to be let in.</summary>
internal sealed record EtcdConfiguration
{
    /// <summary><c>etcd.endpoints</c></summary>
    public IReadOnlyList<Uri> Endpoints { get; init; } = [];

    /// <summary><c>etcd.dial_timeout</c></summary>
    public TimeSpan DialTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary><c>etcd.ca</c>: PEM file; null means the system's authorities.</summary>
    public string? CertificateAuthorityFile { get; init; }

    /// <summary><c>etcd.cert</c>: PEM file.</summary>
    public string? CertificateFile { get; init; }

    /// <summary><c>etcd.key</c>: PEM file.</summary>
    public string? KeyFile { get; init; }

    /// <summary><c>etcd.username</c></summary>
    public string? Username { get; init; }

    /// <summary><c>etcd.password</c>, or the first line of the file that <c>etcd.password_file</c> names.</summary>
    public Secret Password { get; init; }
}

/// <summary>Addresses that the server hands out.</summary>
internal sealed record ServerNetworkConfiguration
{
    /// <summary><c>network.node_subnets</c>: the IPv4 network that each node gets a piece of.</summary>
    public IPNetwork NodeSubnets { get; init; } = new(IPAddress.Parse("10.128.0.0"), 10);

    /// <summary><c>network.node_prefix_length</c>: size of the piece; 24 means 254 addresses, 16,384 nodes in the default network.</summary>
    public int NodePrefixLength { get; init; } = 24;
}

/// <summary>Bounds on what is imported.</summary>
internal sealed record ImagesConfiguration
{
    /// <summary><c>images.max_archive_size</c>: bytes of an uploaded archive, as sent, or of a registry's image.</summary>
    public long MaxArchiveBytes { get; init; } = 16L << 30;

    /// <summary><c>images.max_unpacked_size</c>: bytes of all layers of an image, decompressed.</summary>
    public long MaxUnpackedBytes { get; init; } = 64L << 30;

    /// <summary><c>images.max_virtual_size</c>: bytes that a disk made of an imported disk image may have at least.</summary>
    public long MaxVirtualBytes { get; init; } = 2L << 40;

    /// <summary><c>images.import_hosts</c>: "host" or "host:port" of URLs that images may be imported from although their address is private.</summary>
    public IReadOnlyList<string> ImportHosts { get; init; } = [];

    /// <summary>Content of the file that <c>images.aliases</c> names.</summary>
    public IReadOnlyList<ImageAlias> Aliases { get; init; } = [];

    /// <summary><c>images.max_concurrent_imports</c>: of archives, and as many pulls; each occupies disk and a core while it is checked.</summary>
    public int MaxConcurrentImports { get; init; } = 4;
}

/// <summary>One image registry, or a host that one refers to.</summary>
internal sealed record RegistryConfiguration
{
    /// <summary><c>host</c>: "host" or "host:port", as in image names; "docker.io" for Docker Hub.</summary>
    public required string Host { get; init; }

    /// <summary><c>mirrors</c>: hosts that are asked before it, in this order.</summary>
    public IReadOnlyList<string> Mirrors { get; init; } = [];

    /// <summary><c>username</c></summary>
    public string Username { get; init; } = "";

    /// <summary><c>password</c>, or the first line of the file that <c>password_file</c> names.</summary>
    public Secret Password { get; init; }

    /// <summary>Content of the PEM file that <c>ca</c> names; empty means the system's authorities.</summary>
    public string CertificateAuthority { get; init; } = "";

    /// <summary><c>plain_http</c>: without encryption; a password is readable on the way.</summary>
    public bool PlainHttp { get; init; }
}
