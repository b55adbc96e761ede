using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Logs;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Configuration;

/// <summary>Protects: the agent starts only with a configuration it understood wholly, and never open to a network by accident.</summary>
public sealed class AgentConfigurationTests
{
    [Fact]
    public void Nothing_configured_means_the_defaults_and_the_machines_own_name()
    {
        var configuration = Parse("", machineName: "Node-7.example.com");

        Assert.Equal("node-7", configuration.Hostname);
        Assert.Equal(new HostPort("127.0.0.1", 50052), configuration.AdvertiseAddress);
        Assert.Equal(new ContainerdConfiguration(), configuration.Containerd);
        Assert.Empty(configuration.Labels);
    }

    [Fact]
    public void Every_key_is_read()
    {
        var configuration = Parse(
            """
            hostname: n1
            listen_addr: ":6000"
            role: edge
            region: eu
            zone: eu-1
            labels: {disk: ssd, example.com/rack: "7"}
            devices: {nic: 4, gpu: 2}
            server_addr: server.example.com:50051
            supported_instance_types: [container, vm]
            data_dir: /srv/a
            run_dir: /run/a
            insecure: true
            libvirt: {uri: qemu:///session}
            containerd: {address: /run/c.sock, namespace: n, snapshotter: native, shim_group: false, seccomp_profile: /p.json, cgroup_parent: /g, state: /run/s, foreign_architectures: true}
            network: {enabled: false, bridge: br7, dns: [192.0.2.53]}
            logs: {max_size: 1MiB, max_files: 3}
            images: {cache_bytes: 2GiB}
            log: {level: warn, format: json}
            metrics_addr: 127.0.0.1:9952
            telemetry: {otlp_endpoint: "http://127.0.0.1:4317"}
            """);

        Assert.Equal(new HostPort("n1", 6000), configuration.AdvertiseAddress);
        Assert.Equal([new("disk", "ssd"), new("example.com/rack", "7")], configuration.Labels);
        Assert.Equal([new("gpu", 2), new("nic", 4)], configuration.Devices);
        Assert.Equal([InstanceType.Container, InstanceType.Vm], configuration.SupportedInstanceTypes);
        Assert.Equal("/run/c.sock", configuration.Containerd.SocketPath);
        Assert.False(configuration.Containerd.ShimGroup);
        Assert.Equal("/run/s", configuration.Containerd.StateDirectory);
        Assert.True(configuration.Containerd.ForeignArchitectures);
        Assert.Equal(new LogLimits(1 << 20, 3), configuration.Logs);
        Assert.Equal(2L << 30, configuration.ImageCacheBytes);
        Assert.Equal(9952, configuration.MetricsAddress?.Port);
        Assert.Equal("http://127.0.0.1:4317/", configuration.OtlpEndpoint?.ToString());
        Assert.Equal("br7", configuration.Network.Bridge);
        Assert.Single(configuration.Network.DnsServers);
    }

    [Fact]
    public void The_port_alone_stays_on_loopback() => Assert.Equal(new HostPort("127.0.0.1", 6000), Parse("port: 6000\n").ListenAddress);

    [Theory]
    [InlineData("hostname: Node_1\n", "a.yaml:1: hostname: is not an RFC 1123 label (Node_1)")]
    [InlineData("listen_addr: 0.0.0.0:50052\n", "a.yaml:1: listen_addr: can be reached from other machines")]
    [InlineData("listen_addr: 127.0.0.1:1\nport: 2\n", "a.yaml:2: port: is 2, and listen_addr says 1")]
    [InlineData("server_addr: :50051\n", "a.yaml:1: server_addr: is not an address to call")]
    [InlineData("supported_instance_types: [container, micro]\n", "a.yaml:1: supported_instance_types: is not one of the choices (micro)")]
    [InlineData("supported_instance_types: []\n", "a.yaml:1: supported_instance_types: is empty")]
    [InlineData("labels:\n  -x: y\n", "a.yaml:2: labels.-x: has a name that is no label key")]
    [InlineData("labels:\n  x: a b\n", "a.yaml:2: labels.x: has a value that is no label value (a b)")]
    [InlineData("devices:\n  gpu: 2\n  Gpu: 2\n", "a.yaml:3: devices.Gpu: has a name that is no RFC 1123 label (2)")]
    [InlineData("devices:\n  gpu: 0\n", "a.yaml:2: devices.gpu: is out of range (0)")]
    [InlineData("devices:\n  gpu: 1025\n", "a.yaml:2: devices.gpu: is out of range (1025)")]
    [InlineData("devices:\n  gpu: two\n", "a.yaml:2: devices.gpu: is not a whole number (two)")]
    [InlineData("devices:\n  gpu:\n", "a.yaml:2: devices.gpu: is not a whole number")]
    [InlineData("devices: [gpu]\n", "a.yaml:1: devices: is a list")]
    [InlineData("network:\n  bridge: br%d\n", "a.yaml:2: network.bridge: is not an interface name (br%d)")]
    [InlineData("network:\n  bridge: abcdefghijklmnop\n", "a.yaml:2: network.bridge: is not an interface name")]
    [InlineData("network:\n  mtu: 500\n", "a.yaml:2: network.mtu: is less than every host has to take (500)")]
    [InlineData("network:\n  mtu: 65522\n", "a.yaml:2: network.mtu: ")]
    [InlineData("network:\n  dns: [resolver]\n", "a.yaml:2: network.dns: is not an IP address (resolver)")]
    [InlineData("containerd:\n  address: containerd.sock\n", "a.yaml:2: containerd.address: is not an absolute path")]
    [InlineData("libvirt:\n  uri: qemu\n", "a.yaml:2: libvirt.uri: is not a libvirt URI (qemu)")]
    public void What_is_wrong_is_said_with_its_line(string yaml, string expected) =>
        Assert.Contains(Assert.Throws<ConfigurationException>(() => Parse(yaml)).Errors, error => error.StartsWith(expected, StringComparison.Ordinal));

    [Fact]
    public void A_socket_path_that_the_kernel_cannot_hold_is_refused() =>
        Assert.Contains("at most 107 bytes", Assert.Throws<ConfigurationException>(() => Parse($"containerd: {{address: /{new string('a', 107)}}}\n")).Message);

    [Fact]
    public void A_machine_without_a_usable_name_must_be_named() =>
        Assert.Contains("hostname: is not given", Assert.Throws<ConfigurationException>(() => Parse("", machineName: "my_machine")).Message);

    [Fact]
    public void Devices_are_bounded_and_the_environment_says_them_in_one_line()
    {
        var many = string.Concat(Enumerable.Range(0, 33).Select(number => $"  d{number}: 1\n"));
        Assert.Contains("devices: has 33 entries", Assert.Throws<ConfigurationException>(() => Parse($"devices:\n{many}")).Message);

        var environment = new Dictionary<string, string> { ["HYPERVISOR_AGENT_DEVICES"] = "gpu=1,nic=2" };
        var configuration = AgentConfigurationLoader.Parse(YamlDocument.Load("devices: {tpu: 9}\n", "a.yaml"), environment, "machine");
        Assert.Equal([new("gpu", 1), new("nic", 2)], configuration.Devices);
    }

    private static AgentConfiguration Parse(string yaml, string machineName = "machine") =>
        AgentConfigurationLoader.Parse(YamlDocument.Load(yaml, "a.yaml"), new Dictionary<string, string>(), machineName);
}
