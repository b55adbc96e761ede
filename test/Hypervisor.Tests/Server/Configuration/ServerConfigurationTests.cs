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
            """);

        Assert.Equal(new HostPort("", 50051), configuration.GrpcAddress);
        Assert.Equal(
            (TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(30)), (configuration.Heartbeat.Interval, configuration.Heartbeat.Timeout));
        Assert.Equal("172.16.0.0/12", configuration.Network.NodeSubnets.ToString());
        Assert.Equal(26, configuration.Network.NodePrefixLength);
        Assert.Equal(PlacementStrategy.Binpack, configuration.SchedulerStrategy);
        Assert.Equal(new ImagesConfiguration { MaxArchiveBytes = 1L << 30, MaxUnpackedBytes = 2L << 30, MaxConcurrentImports = 1 }, configuration.Images);
        Assert.Equal((LogLevel.Debug, "/srv/hv"), (configuration.LogLevel, configuration.DataDirectory));
    }

    [Theory]
    [InlineData("grpc_addr: :50051\n", "s.yaml:1: grpc_addr: can be reached from other machines")]
    [InlineData("http_addr: 192.0.2.1:80\n", "s.yaml:1: http_addr: can be reached from other machines")]
    [InlineData("heartbeat:\n  interval: 10s\n", "s.yaml:2: heartbeat.interval: is less than twice heartbeat.interval (5s against 10s) – set heartbeat.timeout to 20s or more")]
    [InlineData("heartbeat:\n  interval: 2s\n  timeout: 3s\n", "s.yaml:3: heartbeat.timeout: is less than twice")]
    [InlineData("grpc_addr: 127.0.0.1:1\nhttp_addr: 127.0.0.1:1\n", "s.yaml:2: http_addr: is the same as grpc_addr")]
    [InlineData("network:\n  node_subnets: 10.0.0.0/25\n", "s.yaml:2: network.node_subnets: asks for a piece larger than the whole")]
    [InlineData("scheduler:\n  strategy: spred\n", "s.yaml:2: scheduler.strategy: is not one of the choices (spred) – did you mean \"spread\"? Write spread, binpack")]
    [InlineData("data_dir: lib/x\n", "s.yaml:1: data_dir: is not an absolute path (lib/x)")]
    [InlineData("data_dir: /lib/../x\n", "s.yaml:1: data_dir: contains . or ..")]
    [InlineData("etcd:\n  endpoints: [localhost:2379]\n", "s.yaml:1: etcd: etcd arrives with the next release – remove the section to use the embedded store")]
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
            () => Parse("etcd:\n  endpoints: [http://x:2379]\n  username: u\n  password: hunter2\n"));
        var configuration = new EtcdConfiguration { Password = new Secret("hunter2") };

        Assert.DoesNotContain("hunter2", exception.ToString());
        Assert.DoesNotContain("hunter2", configuration.ToString());
    }

    [Fact]
    public void The_environment_overrides_every_key()
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
