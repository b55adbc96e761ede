using System.Net;
using CsCheck;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Dhcp;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Networking;

/// <summary>Protects: the DHCP server is told what was asked, and nothing that a user wrote becomes a word of its configuration.</summary>
public sealed class DhcpPlanTests
{
    private static readonly Ipv4Subnet Subnet = Ipv4Subnet.Of(IPNetwork.Parse("10.66.0.0/24"));

    [Fact]
    public void A_guest_is_known_by_its_hardware_address_alone()
    {
        var client = Client(new NetworkSpec { DnsServers = { "192.0.2.1", "2001:db8::1" }, DnsSearch = { "a.example", "b.example" } }, "web-1");

        Assert.Equal("02:68:0a:42:00:02,id:*,set:i0a420002,10.66.0.2\n", DhcpPlan.RenderHost(client));
        Assert.Equal(
            "tag:i0a420002,12,web-1\ntag:i0a420002,option:dns-server,192.0.2.1\ntag:i0a420002,option:domain-search,a.example,b.example\n",
            DhcpPlan.RenderOptions(client));
    }

    [Fact]
    public void What_a_guest_does_not_ask_for_is_the_nodes()
    {
        Assert.Equal("tag:i0a420002,12,web\n", DhcpPlan.RenderOptions(Client(new NetworkSpec(), "web")));

        var configuration = Plan().RenderConfiguration("dnsmasq").Split('\n');

        Assert.Contains("dhcp-option=option:dns-server,192.0.2.53", configuration);
        Assert.Contains("dhcp-option-force=26,1450", configuration);
        Assert.Contains("dhcp-option=tag:n0a420000,option:router,10.66.0.1", configuration);
        Assert.Contains("dhcp-range=set:n0a420000,10.66.0.0,static,255.255.255.0,10.66.0.255,12h", configuration);
        Assert.Contains("dhcp-lease-max=253", configuration);
        Assert.Contains("user=dnsmasq", configuration);
        Assert.Contains("port=0", configuration);
    }

    [Fact]
    public void A_bridge_made_anew_needs_the_server_started_again() =>
        Assert.NotEqual(Plan().RenderConfiguration(null), (Plan() with { BridgeIndex = 8 }).RenderConfiguration(null));

    [Theory]
    [InlineData("")]
    [InlineData("a b")]
    [InlineData("a,ignore")]
    [InlineData("a\ndhcp-script=/bin/sh")]
    [InlineData("#a")]
    [InlineData("a.example")]
    [InlineData("-a")]
    [InlineData("a-")]
    [InlineData("\"a\"")]
    [InlineData("müller")]
    [InlineData("a123456789012345678901234567890123456789012345678901234567890123")]
    public void A_name_that_is_no_label_is_left_out(string name) => Assert.Equal("", DhcpPlan.RenderOptions(Client(new NetworkSpec(), name)));

    [Theory]
    [InlineData("a.example,b")]
    [InlineData("a..example")]
    [InlineData(".example")]
    [InlineData("a.example\n")]
    [InlineData("tag:x")]
    [InlineData("")]
    public void A_search_domain_that_is_no_name_is_left_out(string domain) =>
        Assert.Equal("", DhcpPlan.RenderOptions(Client(new NetworkSpec { DnsSearch = { domain } }, "")));

    [Fact]
    public void More_search_domains_than_an_option_holds_are_left_out()
    {
        var spec = new NetworkSpec { DnsSearch = { Enumerable.Range(0, 40).Select(number => $"domain-{number}.example") } };

        Assert.InRange(Client(spec, "").Answer!.DnsSearch.Sum(domain => domain.Length + 2), 200, 255);
    }

    [Fact]
    public void Whatever_a_user_writes_renders_to_nothing_but_known_words() =>
        Gen.Select(Gen.String, Gen.String.Array[0, 5], Gen.String.Array[0, 5]).Sample((name, servers, search) =>
        {
            var client = Client(new NetworkSpec { DnsServers = { servers }, DnsSearch = { search } }, name);
            foreach (var line in DhcpPlan.RenderOptions(client).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                Assert.Matches(@"^tag:i0a420002,(12,[A-Za-z0-9-]+|option:dns-server,[0-9.,]+|option:domain-search,[A-Za-z0-9.,-]+)$", line);
            }
        });

    private static DhcpPlan Plan() => new("hv0", 7, 1450, [Subnet], [IPAddress.Parse("192.0.2.53"), IPAddress.IPv6Any], []);

    private static Attachment Client(NetworkSpec spec, string hostname) =>
        new(new InstanceId("00000000-0000-4000-8000-000000000001"), new Epoch(1), IPAddress.Parse("10.66.0.2"), Subnet, [])
        {
            Kind = ConnectionKind.Tap,
            Answer = GuestAnswers.Of(spec, hostname),
        };
}
