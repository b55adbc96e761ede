using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Hypervisor.Tests.Server.Configuration;

/// <summary>Protects: the server starts only with a configuration it understood wholly, and never open to a network by accident.</summary>
public sealed class ServerConfigurationTests
{
    [Fact]
    public void Nothing_configured_means_the_defaults()
    {
        var configuration = Parse("");

        Assert.Equal(new ServerConfiguration(), configuration);
        Assert.Equal(
            (TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5)), (configuration.Heartbeat.Interval, configuration.Heartbeat.Timeout));
    }

    [Fact]
    public void Every_key_is_read()
    {
        var configuration = Parse(
            """
            grpc_addr: ":50051"
            http_addr: ":8080"
            data_dir: /srv/hv
            insecure: true
            heartbeat: {interval: 10s, timeout: 30s}
            network: {node_subnets: 172.16.0.0/12, node_prefix_length: 26}
            scheduler: {strategy: binpack}
            images: {max_archive_size: 1G, max_unpacked_size: 2G, max_concurrent_imports: 1}
            log: {level: debug}
            advertise_addr: server-1:50051
            allowed_origins: ["https://console.example"]
            etcd: {endpoints: ["https://etcd-1:2379"], dial_timeout: 7s, ca: /ca.pem, cert: /c.pem, key: /k.pem, username: u, password: p}
            telemetry: {otlp_endpoint: "http://127.0.0.1:4317"}
            """);

        Assert.Equal("server-1", configuration.AdvertiseAddress?.Host);
        Assert.Single(configuration.AllowedOrigins);
        Assert.Equal((TimeSpan.FromSeconds(7), "u", "p"), (configuration.Etcd!.DialTimeout, configuration.Etcd.Username, configuration.Etcd.Password.Reveal()));
        Assert.Equal("http://127.0.0.1:4317/", configuration.Telemetry.OtlpEndpoint?.ToString());
        Assert.Equal(new HostPort("", 50051), configuration.GrpcAddress);
        Assert.Equal(
            (TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(30)), (configuration.Heartbeat.Interval, configuration.Heartbeat.Timeout));
        Assert.Equal("172.16.0.0/12", configuration.Network.NodeSubnets.ToString());
        Assert.Equal(26, configuration.Network.NodePrefixLength);
        Assert.Equal(PlacementStrategy.Binpack, configuration.SchedulerStrategy);
        Assert.Equal(new ImagesConfiguration { MaxArchiveBytes = 1L << 30, MaxUnpackedBytes = 2L << 30, MaxConcurrentImports = 1 }, configuration.Images);
        Assert.Equal((LogLevel.Debug, "/srv/hv"), (configuration.LogLevel, configuration.DataDirectory));
    }

    [Fact]
    public void Registries_are_read_with_the_environment_over_them()
    {
        var authority = Path.GetTempFileName();
        try
        {
            File.WriteAllText(authority, "PEM");
            var configuration = ServerConfigurationLoader.Parse(
                YamlDocument.Load(
                    $$"""
                    registries:
                      - host: docker.io
                        mirrors: ["mirror.example:5000", other.example]
                      - host: registry.example
                        username: ann
                        password: from-file
                        ca: {{authority}}
                      - {host: "10.0.0.1:5000", plain_http: true}
                    """, "s.yaml"),
                new Dictionary<string, string> { ["HYPERVISOR_SERVER_REGISTRIES_1_PASSWORD"] = "secret" });

            Assert.Equal(["docker.io", "registry.example", "10.0.0.1:5000"], configuration.Registries.Select(registry => registry.Host));
            Assert.Equal(["mirror.example:5000", "other.example"], configuration.Registries[0].Mirrors);
            Assert.Equal(("ann", "secret", "PEM"), (configuration.Registries[1].Username, configuration.Registries[1].Password.Reveal(), configuration.Registries[1].CertificateAuthority));
            Assert.True(configuration.Registries[2].PlainHttp);
            Assert.DoesNotContain("secret", configuration.Registries[1].ToString(), StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(authority);
        }
    }

    [Theory]
    [InlineData("registries: docker.io\n", "s.yaml:1: registries: is a value – write a list of sections")]
    [InlineData("registries:\n  - docker.io\n", "s.yaml:1: registries: is a list of something else")]
    [InlineData("registries:\n  - mirrors: [a]\n", "s.yaml:1: registries: is missing")]
    [InlineData("registries:\n  - host: https://docker.io\n", "s.yaml:2: registries[0].host: is not a host (https://docker.io)")]
    [InlineData("registries:\n  - host: a\n    mirors: [b]\n", "s.yaml:3: registries[0].mirors: is not a known key – did you mean \"mirrors\"?")]
    [InlineData("registries:\n  - host: a\n  - host: a\n", "s.yaml:3: registries[1].host: repeats a registry (a)")]
    [InlineData("registries:\n  - host: a\n    username: b\n", "s.yaml:3: registries[0].username: is given without its counterpart")]
    [InlineData("registries:\n  - host: a\n    username: b\n    password_file: /no/such/file\n", "s.yaml:4: registries[0].password_file: cannot be read")]
    [InlineData("registries:\n  - host: a\n    plain_http: true\n    ca: /no/such/file\n", "s.yaml:4: registries[0].ca: says that the registry encrypts")]
    [InlineData("grpc_addr: :50051\n", "s.yaml:1: grpc_addr: can be reached from other machines")]
    [InlineData("http_addr: 192.0.2.1:80\n", "s.yaml:1: http_addr: can be reached from other machines")]
    [InlineData("heartbeat:\n  interval: 10s\n", "s.yaml:2: heartbeat.interval: is less than twice heartbeat.interval (5s against 10s) – set heartbeat.timeout to 20s or more")]
    [InlineData("heartbeat:\n  interval: 2s\n  timeout: 3s\n", "s.yaml:3: heartbeat.timeout: is less than twice")]
    [InlineData("grpc_addr: 127.0.0.1:1\nhttp_addr: 127.0.0.1:1\n", "s.yaml:2: http_addr: is the same as grpc_addr")]
    [InlineData("network:\n  node_subnets: 10.0.0.0/25\n", "s.yaml:2: network.node_subnets: asks for a piece larger than the whole")]
    [InlineData("scheduler:\n  strategy: spred\n", "s.yaml:2: scheduler.strategy: is not one of the choices (spred) – did you mean \"spread\"? Write spread, binpack, balanced")]
    [InlineData("data_dir: lib/x\n", "s.yaml:1: data_dir: is not an absolute path (lib/x)")]
    [InlineData("data_dir: /lib/../x\n", "s.yaml:1: data_dir: contains . or ..")]
    [InlineData("etcd:\n  endpoints: [http://a:2379, https://b:2379]\n",
        "s.yaml:2: etcd.endpoints: mixes http and https – write https:// for all members or for none")]
    [InlineData("etcd:\n  endpoints: [a:2379]\n  ca: /ca.pem\n",
        "s.yaml:3: etcd.ca: is given for an endpoint without TLS (http://a:2379) – write https:// in etcd.endpoints")]
    [InlineData("etcd:\n  endpoints: [ftp://x]\n", "s.yaml:2: etcd.endpoints: is not an endpoint (ftp://x)")]
    [InlineData("etcd:\n  cert: /a\n", "s.yaml:2: etcd.cert: is only one half of a client certificate")]
    [InlineData("etcd:\n  dial_timeout: 5s\n", "s.yaml:1: etcd: is missing")]
    [InlineData("etcd:\n  password_file: /does/not/exist\n", "s.yaml:2: etcd.password_file: cannot be read")]
    public void What_is_wrong_is_said_with_its_line(string yaml, string expected) =>
        Assert.Contains(
            Assert.Throws<ConfigurationException>(() => Parse(yaml)).Errors, error => error.StartsWith(expected, StringComparison.Ordinal));

    [Fact]
    public void A_planted_password_is_in_no_message()
    {
        var exception = Assert.Throws<ConfigurationException>(
            () => Parse("etcd:\n  endpoints: [ftp://x]\n  username: u\n  password: hunter2\n"));
        var configuration = new EtcdConfiguration { Password = new Secret("hunter2") };

        Assert.DoesNotContain("hunter2", exception.ToString());
        Assert.DoesNotContain("hunter2", configuration.ToString());
    }

    [Fact]
    public void The_environment_overrides_keys_of_every_depth()
    {
        var configuration = Parse("grpc_addr: 127.0.0.1:1\n", new() { ["HYPERVISOR_SERVER_GRPC_ADDR"] = "127.0.0.1:2", ["HYPERVISOR_SERVER_HEARTBEAT_TIMEOUT"] = "9s" });

        Assert.Equal(2, configuration.GrpcAddress.Port);
        Assert.Equal(TimeSpan.FromSeconds(9), configuration.Heartbeat.Timeout);
    }

    [Fact]
    public void A_missing_file_is_an_error_with_its_name() =>
        Assert.Contains("/does/not/exist.yaml: cannot be read", Assert.Throws<ConfigurationException>(() => ServerConfigurationLoader.Load("/does/not/exist.yaml", new Dictionary<string, string>())).Message);

    private static ServerConfiguration Parse(string yaml, Dictionary<string, string>? environment = null) =>
        ServerConfigurationLoader.Parse(YamlDocument.Load(yaml, "s.yaml"), environment ?? []);
}
