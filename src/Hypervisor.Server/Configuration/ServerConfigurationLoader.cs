using System.Globalization;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Configuration;

/// <summary>Reads and judges the server's configuration.</summary>
internal static class ServerConfigurationLoader
{
    /// <summary>Begins every variable: HYPERVISOR_SERVER_GRPC_ADDR is <c>grpc_addr</c>, HYPERVISOR_SERVER_LOG_LEVEL is <c>log.level</c>.</summary>
    public const string EnvironmentPrefix = "HYPERVISOR_SERVER";

    /// <summary>From a file, or from defaults alone when there is none, and from the environment, which wins.</summary>
    /// <exception cref="ConfigurationException">Everything that is wrong.</exception>
    public static ServerConfiguration Load(string? path, IReadOnlyDictionary<string, string> environment)
    {
        try
        {
            return Parse(path is null ? YamlDocument.Load("", "(no configuration file)") : YamlDocument.LoadFile(path), environment);
        }
        catch (InvalidYamlException exception)
        {
            throw new ConfigurationException(exception.Errors);
        }
    }

    /// <inheritdoc cref="Load"/>
    public static ServerConfiguration Parse(YamlDocument document, IReadOnlyDictionary<string, string> environment)
    {
        var reader = new ConfigurationReader(document, EnvironmentPrefix, environment);
        var defaults = new ServerConfiguration();
        var configuration = new ServerConfiguration
        {
            GrpcAddress = reader.Value<HostPort>("grpc_addr", defaults.GrpcAddress, Values.ListenAddress),
            AdvertiseAddress = reader.Value<HostPort?>("advertise_addr", null, AdvertiseAddress),
            HttpAddress = reader.Value<HostPort>("http_addr", defaults.HttpAddress, Values.ListenAddress),
            AllowedOrigins = reader.List<Uri>("allowed_origins", defaults.AllowedOrigins, maxItems: 32, Origin),
            DataDirectory = reader.Value("data_dir", defaults.DataDirectory, Values.AbsolutePath()),
            Insecure = reader.Value<bool>("insecure", defaults.Insecure, Values.Bool),
            Heartbeat = Heartbeat(reader, defaults.Heartbeat),
            Etcd = Etcd(reader),
            Network = Network(reader, defaults.Network),
            SchedulerStrategy = reader.Value("scheduler.strategy", defaults.SchedulerStrategy,
                Values.OneOf(("spread", PlacementStrategy.Spread), ("binpack", PlacementStrategy.Binpack), ("balanced", PlacementStrategy.Balanced))),
            Images = Images(reader, defaults.Images),
            Registries = RegistriesLoader.Read(reader),
            LogLevel = reader.Value("log.level", defaults.LogLevel, LogLevels),
            LogFormat = reader.Value("log.format", defaults.LogFormat, Values.OneOf(("text", LogStyle.Text), ("json", LogStyle.Json))),
            Telemetry = new() { OtlpEndpoint = reader.Value<Uri?>("telemetry.otlp_endpoint", null, Values.OtlpEndpoint) },
        };

        RequireLoopback(reader, configuration.Insecure, "grpc_addr", configuration.GrpcAddress);
        RequireLoopback(reader, configuration.Insecure, "http_addr", configuration.HttpAddress);
        if (configuration.GrpcAddress.Port != 0 && configuration.GrpcAddress == configuration.HttpAddress)
        {
            reader.Fail($"is the same as grpc_addr ({configuration.GrpcAddress})", "give each a port of its own", "http_addr", "grpc_addr");
        }

        reader.ThrowIfInvalid();
        return configuration;
    }

    private static ValueParser<LogLevel> LogLevels { get; } = Values.OneOf(
        ("trace", LogLevel.Trace), ("debug", LogLevel.Debug), ("information", LogLevel.Information), ("info", LogLevel.Information),
        ("warning", LogLevel.Warning), ("warn", LogLevel.Warning), ("error", LogLevel.Error));

    private static HeartbeatConfiguration Heartbeat(ConfigurationReader reader, HeartbeatConfiguration defaults)
    {
        var heartbeat = new HeartbeatConfiguration
        {
            Interval = reader.Value("heartbeat.interval", defaults.Interval, Values.Duration(TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1))),
            Timeout = reader.Value("heartbeat.timeout", defaults.Timeout, Values.Duration(TimeSpan.FromMilliseconds(200), TimeSpan.FromMinutes(10))),
        };

        if (heartbeat.Timeout < 2 * heartbeat.Interval)
        {
            // One lost beat must not end a lease.
            reader.Fail(
                $"is less than twice heartbeat.interval ({Units.Format(heartbeat.Timeout)} against {Units.Format(heartbeat.Interval)})",
                $"set heartbeat.timeout to {Units.Format(2 * heartbeat.Interval)} or more",
                "heartbeat.timeout", "heartbeat.interval");
        }

        return heartbeat;
    }

    private static EtcdConfiguration? Etcd(ConfigurationReader reader)
    {
        var present = reader.IsSet("etcd");
        var defaults = new EtcdConfiguration();
        var passwordFile = reader.Value<string?>("etcd.password_file", null, Path);
        var etcd = new EtcdConfiguration
        {
            Endpoints = reader.List<Uri>("etcd.endpoints", defaults.Endpoints, maxItems: 16, EtcdEndpoint),
            DialTimeout = reader.Value("etcd.dial_timeout", defaults.DialTimeout, Values.Duration(TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1))),
            CertificateAuthorityFile = reader.Value<string?>("etcd.ca", null, Path),
            CertificateFile = reader.Value<string?>("etcd.cert", null, Path),
            KeyFile = reader.Value<string?>("etcd.key", null, Path),
            Username = reader.Value<string?>("etcd.username", null, (string text, out string? value) => Values.Text(256)(text, out value!)),
            Password = reader.Secret("etcd.password"),
        };
        if (!present)
        {
            return null;
        }

        if (!reader.IsSet("etcd.endpoints"))
        {
            reader.Fail("is missing", "list the addresses of etcd, [http://127.0.0.1:2379]", "etcd.endpoints", "etcd");
        }

        if (etcd.CertificateFile is null != etcd.KeyFile is null)
        {
            reader.Fail("is only one half of a client certificate", "give both etcd.cert and etcd.key", "etcd.cert", "etcd.key");
        }

        if (!etcd.Password.IsEmpty && passwordFile is not null)
        {
            reader.Fail("is given besides etcd.password", "keep one of them", "etcd.password_file");
        }
        else if (passwordFile is not null)
        {
            etcd = etcd with { Password = ConfiguredFiles.FirstLine(reader, "etcd.password_file", passwordFile) };
        }

        if (etcd.Username is null != etcd.Password.IsEmpty)
        {
            reader.Fail("is given without its counterpart", "give both etcd.username and etcd.password (or etcd.password_file)", "etcd.username", "etcd.password", "etcd.password_file");
        }

        CheckEtcdSchemes(reader, etcd);
        return etcd;
    }

    private static void CheckEtcdSchemes(ConfigurationReader reader, EtcdConfiguration etcd)
    {
        var plain = etcd.Endpoints.FirstOrDefault(endpoint => endpoint.Scheme == "http");
        if (plain is not null && etcd.Endpoints.Any(endpoint => endpoint.Scheme == "https"))
        {
            reader.Fail("mixes http and https", "write https:// for all members or for none", "etcd.endpoints");
        }
        else if (plain is not null && (etcd.CertificateAuthorityFile ?? etcd.CertificateFile) is not null)
        {
            reader.Fail($"is given for an endpoint without TLS ({DisplayText.Of(plain.OriginalString)})",
                "write https:// in etcd.endpoints", "etcd.ca", "etcd.cert", "etcd.key");
        }
    }

    private static ServerNetworkConfiguration Network(ConfigurationReader reader, ServerNetworkConfiguration defaults)
    {
        var network = new ServerNetworkConfiguration
        {
            NodeSubnets = reader.Value<System.Net.IPNetwork>("network.node_subnets", defaults.NodeSubnets, Values.Network4),
            NodePrefixLength = reader.Value("network.node_prefix_length", defaults.NodePrefixLength, Values.WholeNumber(16, 29)),
        };

        if (network.NodePrefixLength < network.NodeSubnets.PrefixLength)
        {
            reader.Fail(
                $"asks for a piece larger than the whole (/{network.NodePrefixLength.ToString(CultureInfo.InvariantCulture)} of {network.NodeSubnets})",
                $"write a prefix length of {network.NodeSubnets.PrefixLength.ToString(CultureInfo.InvariantCulture)} to 29, or a larger network",
                "network.node_prefix_length", "network.node_subnets");
        }

        return network;
    }

    private static ImagesConfiguration Images(ConfigurationReader reader, ImagesConfiguration defaults) => new()
    {
        MaxArchiveBytes = reader.Value("images.max_archive_size", defaults.MaxArchiveBytes, Values.Size(1L << 20, 1L << 40)),
        MaxUnpackedBytes = reader.Value("images.max_unpacked_size", defaults.MaxUnpackedBytes, Values.Size(1L << 20, 4L << 40)),
        MaxVirtualBytes = reader.Value("images.max_virtual_size", defaults.MaxVirtualBytes, Values.Size(1L << 20, 1L << 50)),
        ImportHosts = reader.List<string>("images.import_hosts", defaults.ImportHosts, maxItems: 64, RegistriesLoader.Host),
        Aliases = reader.Value<string?>("images.aliases", null, Path) is { } aliases ? ImageAliasesLoader.Load(reader, "images.aliases", aliases) : [],
        MaxConcurrentImports = reader.Value("images.max_concurrent_imports", defaults.MaxConcurrentImports, Values.WholeNumber(1, 64)),
    };

    private static void RequireLoopback(ConfigurationReader reader, bool insecure, string key, HostPort address)
    {
        if (!insecure && !address.IsLoopback)
        {
            reader.Fail(
                $"can be reached from other machines while nobody is authenticated ({address})",
                $"use 127.0.0.1:{address.Port.ToString(CultureInfo.InvariantCulture)}, or set insecure: true in a network you trust",
                key);
        }
    }

    private static Complaint? Path(string text, out string? value) => Values.AbsolutePath()(text, out value!);

    private static Complaint? AdvertiseAddress(string text, out HostPort? value)
    {
        var complaint = Values.PeerAddress(text, out var address);
        value = complaint is null ? address : null;
        return complaint;
    }

    private static Complaint? Origin(string text, out Uri value)
    {
        var valid = Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.UserInfo.Length == 0
            && uri.Host.Length > 0 && uri.PathAndQuery == "/" && uri.Fragment.Length == 0 && !text.EndsWith('/');
        value = valid ? uri! : new Uri("http://invalid");
        return valid ? null : new("is not an origin", "write https://host or https://host:port, without a path");
    }

    private static Complaint? EtcdEndpoint(string text, out Uri value)
    {
        var valid = Uri.TryCreate(text.Contains("://", StringComparison.Ordinal) ? text : "http://" + text, UriKind.Absolute, out var uri)
            && uri.Scheme is "http" or "https" && uri.AbsolutePath == "/" && uri.Query.Length == 0 && uri.UserInfo.Length == 0 && uri.Host.Length > 0;
        value = valid ? uri! : new Uri("http://invalid");
        return valid ? null : new("is not an endpoint", "write http://host:2379 or https://host:2379, without user or path");
    }
}
