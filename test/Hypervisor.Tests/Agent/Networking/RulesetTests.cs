using System.Net;
using CsCheck;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Nftables;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Networking;

/// <summary>Protects: the rules say what was asked and nothing that a user wrote becomes part of them.</summary>
public sealed class RulesetTests
{
    private static readonly Ipv4Subnet Subnet = Ipv4Subnet.Of(IPNetwork.Parse("10.66.0.0/24"));

    [Fact]
    public void Published_ports_become_elements_of_the_two_maps()
    {
        var instance = Instance(2, new(PortProtocol.Tcp, IPAddress.Any, 8080, 80), new(PortProtocol.Udp, IPAddress.Loopback, 53, 5353));

        var rules = Ruleset.Replace(new("hypervisor_hv0", "hv0", [Subnet], [instance]));

        Assert.Contains("elements = { 10.66.0.0/24 }", rules, StringComparison.Ordinal);
        Assert.Contains("elements = { tcp . 8080 : 10.66.0.2 . 80 }", rules, StringComparison.Ordinal);
        Assert.Contains("elements = { 127.0.0.1 . udp . 53 : 10.66.0.2 . 5353 }", rules, StringComparison.Ordinal);
        Assert.StartsWith(Ruleset.Delete("hypervisor_hv0") + "\ntable inet hypervisor_hv0 {", rules, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_ports_there_is_no_empty_element_list()
    {
        var rules = Ruleset.Replace(new("hypervisor_hv0", "hv0", [Subnet], []));

        Assert.Single(rules.Split("elements =")[1..]);
        Assert.DoesNotContain("group", rules, StringComparison.Ordinal);
        Assert.Equal(rules.Count(character => character == '{'), rules.Count(character => character == '}'));
    }

    [Fact]
    public void An_instance_may_speak_from_its_own_port_under_its_own_addresses_only()
    {
        var instance = Instance(2);
        const string Sender = "\"hv-0a420002\" . 02:68:0a:42:00:02 . 10.66.0.2";

        var rules = Ruleset.Replace(new("t", "hv0", [Subnet], [instance]));

        Assert.Contains("elements = { \"hv-0a420002\" }", rules, StringComparison.Ordinal);
        Assert.Contains($"elements = {{ {Sender} }}", rules, StringComparison.Ordinal);
        Assert.Equal(
            ["add element bridge t ports { \"hv-0a420002\" }", $"add element bridge t senders {{ {Sender} }}"],
            Ruleset.Change("t", null, instance).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(
            ["delete element bridge t ports { \"hv-0a420002\" }", $"delete element bridge t senders {{ {Sender} }}"],
            Ruleset.Change("t", instance, null).Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void A_machine_may_ask_for_its_address_about_itself_only()
    {
        var machine = Instance(2) with { Kind = ConnectionKind.Tap };
        const string Asker = "\"hv-0a420002\" . 02:68:0a:42:00:02 . 0x02680a420002";

        Assert.Contains($"elements = {{ {Asker} }}", Ruleset.Replace(new("t", "hv0", [Subnet], [machine])), StringComparison.Ordinal);
        Assert.DoesNotContain(" 0x02680a420002", Ruleset.Replace(new("t", "hv0", [Subnet], [Instance(2)])), StringComparison.Ordinal);
        Assert.Contains($"add element bridge t askers {{ {Asker} }}", Ruleset.Change("t", null, machine), StringComparison.Ordinal);
        Assert.Contains($"delete element bridge t askers {{ {Asker} }}", Ruleset.Change("t", machine, null), StringComparison.Ordinal);

        // A container that becomes a machine, and back.
        Assert.Equal($"add element bridge t askers {{ {Asker} }}", Ruleset.Change("t", Instance(2), machine).Trim());
        Assert.Equal($"delete element bridge t askers {{ {Asker} }}", Ruleset.Change("t", machine, Instance(2)).Trim());
    }

    [Fact]
    public void What_passes_too_fast_is_dropped_by_a_limit_of_the_instances_own()
    {
        var (fast, slow) = (Instance(2), Instance(2) with { Rate = new(Receive: 1 << 20, Transmit: 65536) });
        var slower = slow with { Rate = new(Receive: 1 << 20, Transmit: 70000) };

        var rules = Ruleset.Replace(new("t", "hv0", [Subnet], [slow, Instance(3)]));

        Assert.Contains("  limit hv-0a420002-t-65536 { rate over 65536 bytes/second burst 131072 bytes }\n", rules, StringComparison.Ordinal);
        Assert.Contains("  limit hv-0a420002-r-1048576 { rate over 1048576 bytes/second burst 131072 bytes }\n", rules, StringComparison.Ordinal);
        Assert.Contains("elements = { \"hv-0a420002\" : \"hv-0a420002-t-65536\" }", rules, StringComparison.Ordinal);
        Assert.Contains("elements = { \"hv-0a420002\" : \"hv-0a420002-r-1048576\" }", rules, StringComparison.Ordinal);
        Assert.Equal(
            [
                "delete element bridge t transmit_rates { \"hv-0a420002\" }", "delete limit bridge t hv-0a420002-t-65536",
                "add limit bridge t hv-0a420002-t-70000 { rate over 70000 bytes/second burst 131072 bytes }",
                "add element bridge t transmit_rates { \"hv-0a420002\" : \"hv-0a420002-t-70000\" }",
            ],
            Ruleset.Change("t", slow, slower).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(4, Ruleset.Change("t", fast, slow).Split("add ")[1..].Length);
        Assert.Equal(4, Ruleset.Change("t", slow, fast).Split("delete ")[1..].Length);
        Assert.Contains("delete limit bridge t hv-0a420002-r-1048576", Ruleset.Change("t", slow, null), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1, 0)]
    [InlineData(0, long.MaxValue)]
    public void A_rate_out_of_range_never_reaches_the_kernel(long receive, long transmit)
    {
        var refused = Assert.Throws<DriverException>(() => NetworkRate.Of(new() { ReceiveBytesPerSecond = receive, TransmitBytesPerSecond = transmit }));

        Assert.Equal(("InvalidNetwork", true), (refused.Reason, refused.Permanent));
    }

    [Fact]
    public void A_host_that_forwarded_nothing_before_forwards_for_instances_only() => Assert.Contains(
        "meta nfproto ipv4 iifgroup != 26742 oifgroup != 26742 drop",
        Ruleset.Replace(new("t", "hv0", [Subnet], [], ConfinesForwarding: true)),
        StringComparison.Ordinal);

    [Fact]
    public void A_change_deletes_before_it_adds_and_leaves_the_rest_alone()
    {
        var before = Instance(2, new(PortProtocol.Tcp, IPAddress.Any, 8080, 80), new(PortProtocol.Tcp, IPAddress.Any, 8081, 81));
        var after = Instance(2, new(PortProtocol.Tcp, IPAddress.Any, 8080, 80), new(PortProtocol.Tcp, IPAddress.Any, 8081, 82));

        var change = Ruleset.Change("t", before, after).Split('\n', StringSplitOptions.RemoveEmptyEntries);

        Assert.Equal(["delete element inet t published { tcp . 8081 }", "add element inet t published { tcp . 8081 : 10.66.0.2 . 82 }"], change);
        Assert.Equal("", Ruleset.Change("t", before, before));
    }

    [Theory]
    [InlineData("127.0.0.1 . tcp . 1 : 10.0.0.1 . 1 } ; flush ruleset; {")]
    [InlineData("1.2.3.4\n")]
    [InlineData(" 1.2.3.4")]
    [InlineData("0x7f.1")]
    [InlineData("127.1")]
    [InlineData("::1")]
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("@published")]
    [InlineData("$(reboot)")]
    public void An_address_that_is_not_plain_ipv4_never_reaches_the_rules(string hostIp)
    {
        var spec = new NetworkSpec { Ports = { new PublishedPort { HostPort = 80, InstancePort = 80, HostIp = hostIp } } };

        var refused = Assert.Throws<DriverException>(() => PortRequests.Parse(spec));

        Assert.Equal("InvalidNetwork", refused.Reason);
        Assert.True(refused.Permanent);
    }

    [Theory]
    [InlineData(0, 80, IpProtocol.Tcp)]
    [InlineData(65536, 80, IpProtocol.Tcp)]
    [InlineData(80, -1, IpProtocol.Tcp)]
    [InlineData(80, 70000, IpProtocol.Udp)]
    [InlineData(80, 80, (IpProtocol)132)]
    public void A_port_or_protocol_out_of_range_never_reaches_the_rules(int host, int instance, IpProtocol protocol)
    {
        var spec = new NetworkSpec { Ports = { new PublishedPort { HostPort = host, InstancePort = instance, Protocol = protocol } } };

        Assert.Equal("InvalidNetwork", Assert.Throws<DriverException>(() => PortRequests.Parse(spec)).Reason);
    }

    [Fact]
    public void The_same_port_twice_is_refused_also_when_one_is_on_a_single_address()
    {
        var spec = new NetworkSpec
        {
            Ports = { new PublishedPort { HostPort = 80, InstancePort = 80 }, new PublishedPort { HostPort = 80, InstancePort = 81, HostIp = "192.0.2.1" } },
        };

        Assert.Equal("InvalidNetwork", Assert.Throws<DriverException>(() => PortRequests.Parse(spec)).Reason);
    }

    [Fact]
    public void Any_set_of_ports_renders_to_nothing_but_known_words() =>
        Gen.Select(Gen.Int[1, 65535], Gen.Int[1, 65535], Gen.UInt, Gen.Bool).Array[0, 20].Sample(ports =>
        {
            var instance = Instance(2, [.. ports.Select(port => new Publication(port.Item4 ? PortProtocol.Udp : PortProtocol.Tcp, port.Item3.ToAddress(), port.Item1, port.Item2))]);
            foreach (var line in Ruleset.Change("t", Instance(2), instance).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                Assert.Matches(@"^add element inet t published(_at)? \{ ([0-9.]+ \. )?(tcp|udp) \. [0-9]+ : 10\.66\.0\.2 \. [0-9]+ \}$", line);
            }
        });

    [Theory]
    [InlineData("")]
    [InlineData("hv0\" accept; #")]
    [InlineData("../lo")]
    [InlineData("a234567890123456")]
    [InlineData("0hv")]
    public void A_bridge_name_that_could_mean_something_else_is_refused(string name) =>
        Assert.Throws<ArgumentException>(() => new NetworkOptions { Bridge = name, DataDirectory = "/d", RunDirectory = "/r" });

    [Fact]
    public void Tables_of_two_bridges_have_two_names() =>
        Assert.Equal("hypervisor_hv_1", Ruleset.TableFor("hv-1"));

    private static Attachment Instance(int host, params Publication[] ports) =>
        new(new InstanceId("00000000-0000-4000-8000-000000000001"), new Epoch(1), (Subnet.Network + (uint)host).ToAddress(), Subnet, ports);
}
