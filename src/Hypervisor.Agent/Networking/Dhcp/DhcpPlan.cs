using System.Globalization;
using System.Net;
using System.Text;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;

namespace Hypervisor.Agent.Networking.Dhcp;

/// <summary>What the DHCP server is to answer, and its words for dnsmasq (dnsmasq(8)).</summary>
/// <param name="Bridge">Checked by <see cref="NetworkOptions"/>.</param>
/// <param name="BridgeIndex">The server is bound to the very interface: one made anew under the same name needs it started again.</param>
/// <param name="Resolvers">For guests that name none.</param>
/// <param name="Clients">Nobody else is answered.</param>
internal sealed record DhcpPlan(
    string Bridge, int BridgeIndex, int Mtu, IReadOnlyList<Ipv4Subnet> Subnets, IReadOnlyList<IPAddress> Resolvers, IReadOnlyList<Attachment> Clients)
{
    /// <summary>
    /// Half of it is between renewals: a change of resolvers arrives within six hours, and a server that is away for as long costs no guest its address.
    /// </summary>
    private const string LeaseTime = "12h";

    /// <summary>The options of RFC 2132 that dnsmasq has no word for, or keeps to itself.</summary>
    private const int HostNameOption = 12;
    private const int InterfaceMtuOption = 26;

    /// <summary>
    /// The server's configuration: DHCP only, on the bridge only, for guests that have an entry only. It keeps no record of leases: who has
    /// which address follows from the entries, and what a guest says it has had is confirmed (authoritative).
    /// </summary>
    /// <param name="user">To run as once it is started; null for the program's own choice.</param>
    public string RenderConfiguration(string? user)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"# Written by hypervisor-agent for interface {BridgeIndex}; changes are lost.");
        text.AppendLine("port=0");
        text.AppendLine("bind-interfaces");
        text.AppendLine(CultureInfo.InvariantCulture, $"interface={Bridge}");
        text.AppendLine("except-interface=lo");
        text.AppendLine("no-hosts");
        text.AppendLine("no-resolv");
        text.AppendLine("no-ping");
        text.AppendLine("quiet-dhcp");
        text.AppendLine("leasefile-ro");
        text.AppendLine("dhcp-authoritative");
        text.AppendLine("dhcp-ignore=tag:!known");
        if (user is not null)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"user={user}");
        }

        var leases = 0L;
        foreach (var subnet in Subnets)
        {
            var (tag, mask) = ($"n{subnet.Network:x8}", (uint.MaxValue << (32 - subnet.PrefixLength)).ToAddress());
            text.AppendLine(CultureInfo.InvariantCulture, $"dhcp-range=set:{tag},{subnet.Network.ToAddress()},static,{mask},{subnet.Broadcast.ToAddress()},{LeaseTime}");
            text.AppendLine(CultureInfo.InvariantCulture, $"dhcp-option=tag:{tag},option:router,{subnet.Gateway.ToAddress()}");
            leases += subnet.LastInstance - subnet.FirstInstance + 1;
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"dhcp-lease-max={Math.Min(leases, int.MaxValue)}");
        text.AppendLine(CultureInfo.InvariantCulture, $"dhcp-option-force={InterfaceMtuOption},{Mtu}");
        AppendResolvers(text, "dhcp-option=", Resolvers);
        return text.ToString();
    }

    /// <summary>Name of a guest's two files.</summary>
    public static string FileOf(Attachment client) => Convert.ToHexStringLower(client.Address.GetAddressBytes());

    /// <summary>A line of dhcp-host: by hardware address alone, whatever name the guest's client calls itself by, for several take turns in a boot.</summary>
    /// <remarks>The host name is not here, where "ignore", "infinite" and "1h" are words of dnsmasq's own.</remarks>
    public static string RenderHost(Attachment client) =>
        string.Create(CultureInfo.InvariantCulture, $"{client.Address.ToHardwareAddressText()},id:*,set:{TagOf(client)},{client.Address}\n");

    /// <summary>Lines of dhcp-option for one guest.</summary>
    public static string RenderOptions(Attachment client)
    {
        var text = new StringBuilder();
        if (client.Answer is not { } answer)
        {
            return "";
        }

        var tag = $"tag:{TagOf(client)},";
        if (answer.Hostname.Length > 0)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{tag}{HostNameOption},{answer.Hostname}");
        }

        AppendResolvers(text, tag, answer.DnsServers);
        if (answer.DnsSearch.Count > 0)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{tag}option:domain-search,{string.Join(',', answer.DnsSearch)}");
        }

        return text.ToString();
    }

    private static string TagOf(Attachment client) => "i" + FileOf(client);

    private static void AppendResolvers(StringBuilder text, string prefix, IEnumerable<IPAddress> servers)
    {
        var list = string.Join(',', servers.OverIpv4());
        if (list.Length > 0)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{prefix}option:dns-server,{list}");
        }
    }
}
