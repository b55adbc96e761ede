using System.Globalization;
using System.Text;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;

namespace Hypervisor.Agent.Networking.Nftables;

/// <summary>What the packet filter has to know.</summary>
/// <param name="Table">Identifier; see <see cref="Ruleset.TableFor"/>.</param>
/// <param name="Bridge">Checked by <see cref="NetworkOptions"/>.</param>
/// <param name="ConfinesForwarding">
/// The host forwarded nothing before us: it is to forward for instances only, and to be no router between its other interfaces.
/// </param>
internal sealed record RulesetInput(
    string Table, string Bridge, IReadOnlyList<Ipv4Subnet> Subnets, IReadOnlyList<Attachment> Attachments, bool ConfinesForwarding = false);

/// <summary>
/// Renders our tables in nft's language: one for packets, and one for frames between the ports of the bridge. Only parsed addresses, numbers and enum names get in; nothing that a user wrote.
/// </summary>
/// <remarks>
/// The tables are ours alone and no other is touched. What another table drops stays dropped: on a host whose own firewall has
/// a forward or input chain with policy drop, the administrator must accept the bridge there.
/// Instances on the same bridge talk to each other without passing any chain for packets (unless br_netfilter sends bridged
/// packets through them; they are accepted). What they send passes the chain for frames: nothing but IPv4 and ARP, and both
/// under their own hardware and IPv4 address only, or as a question whether somebody has their address already (RFC 5227).
/// Machines may ask for their address (DHCP), about themselves only: a message's own field chaddr, 28 bytes into it (RFC 2131), says
/// who is meant, and somebody else's would decline or release what belongs to another. Nobody answers such a question but the host.
/// </remarks>
internal static class Ruleset
{
    private const string TransmitRates = "transmit_rates";
    private const string ReceiveRates = "receive_rates";

    /// <summary>One table per bridge, so that two agents on one machine stay apart.</summary>
    public static string TableFor(string bridge)
    {
        var name = new StringBuilder("hypervisor_");
        foreach (var character in bridge)
        {
            name.Append(char.IsAsciiLetterOrDigit(character) ? character : '_');
        }

        return name.ToString();
    }

    /// <summary>One transaction that puts both tables in place of whatever is there.</summary>
    public static string Replace(RulesetInput input)
    {
        var bridge = $"\"{input.Bridge}\"";
        var limits = input.Attachments.SelectMany(Limits).ToList();
        var confinement = input.ConfinesForwarding
            ? string.Create(CultureInfo.InvariantCulture, $"meta nfproto ipv4 iifgroup != {Networking.Bridge.Group} oifgroup != {Networking.Bridge.Group} drop")
            : "";
        return string.Create(CultureInfo.InvariantCulture, $$"""
            {{Delete(input.Table)}}
            table inet {{input.Table}} {
              set subnets {
                type ipv4_addr
                flags interval
            {{Elements(input.Subnets.Select(subnet => subnet.ToString()))}}  }
              map published {
                type inet_proto . inet_service : ipv4_addr . inet_service
            {{Elements(Published(input, everywhere: true))}}  }
              map published_at {
                type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
            {{Elements(Published(input, everywhere: false))}}  }
              chain guard {
                type filter hook prerouting priority raw; policy accept;
                iifname {{bridge}} ip daddr 127.0.0.0/8 drop
                iifname {{bridge}} ip saddr != @subnets ip saddr != 0.0.0.0 drop
              }
              chain publish {
                dnat ip to ip daddr . meta l4proto . th dport map @published_at
                dnat ip to meta l4proto . th dport map @published
              }
              chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                fib daddr type local jump publish
              }
              chain output {
                type nat hook output priority -100; policy accept;
                fib daddr type local jump publish
              }
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname != {{bridge}} ip saddr @subnets masquerade
                oifname {{bridge}} ip saddr 127.0.0.0/8 masquerade
                oifname {{bridge}} ip saddr @subnets ct status dnat masquerade
              }
              chain input {
                type filter hook input priority filter; policy accept;
                iifname {{bridge}} jump from_instances
              }
              chain from_instances {
                ct state established,related accept
                meta l4proto { tcp, udp } th dport 53 accept
                udp dport 67 accept
                reject with icmpx type admin-prohibited
              }
              chain forward {
                type filter hook forward priority filter; policy accept;
                {{confinement}}
                iifname {{bridge}} meta nfproto ipv6 drop
                oifname {{bridge}} jump to_instances
              }
              chain to_instances {
                ct state established,related accept
                ct status dnat accept
                iifname {{bridge}} accept
                reject with icmpx type admin-prohibited
              }
            }
            table bridge {{input.Table}} {
              set ports {
                type ifname
            {{Elements(input.Attachments.Select(Port))}}  }
              set senders {
                type ifname . ether_addr . ipv4_addr
            {{Elements(input.Attachments.Select(Sender))}}  }
              set askers {
                typeof iifname . ether saddr . @th,288,48
            {{Elements(input.Attachments.Where(IsAsker).Select(Asker))}}  }
            {{string.Concat(limits.Select(limit => $"  limit {limit.Name} {{ {limit.Rate} }}\n"))}}  map transmit_rates {
                type ifname : limit
            {{Elements(limits.Where(limit => limit.Map == TransmitRates).Select(limit => limit.Element))}}  }
              map receive_rates {
                type ifname : limit
            {{Elements(limits.Where(limit => limit.Map == ReceiveRates).Select(limit => limit.Element))}}  }
              chain guard {
                type filter hook prerouting priority -300; policy accept;
                iifname != @ports accept
                limit name iifname map @transmit_rates drop
                ip protocol udp udp dport { 67, 68 } jump dhcp
                arp operation request arp saddr ip 0.0.0.0 iifname . ether saddr . arp daddr ip @senders iifname . arp saddr ether . arp daddr ip @senders accept
                iifname . ether saddr . arp saddr ip @senders iifname . arp saddr ether . arp saddr ip @senders accept
                iifname . ether saddr . ip saddr @senders accept
                drop
              }
              chain deliver {
                type filter hook postrouting priority 0; policy accept;
                limit name oifname map @receive_rates drop
              }
              chain dhcp {
                udp dport 68 drop
                ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 iifname . ether saddr . @th,288,48 @askers accept
                iifname . ether saddr . ip saddr @senders iifname . ether saddr . @th,288,48 @askers accept
                drop
              }
            }
            """);
    }

    /// <summary>Deletes the tables, whether they exist or not.</summary>
    public static string Delete(string table) =>
        $"add table inet {table}\ndelete table inet {table}\nadd table bridge {table}\ndelete table bridge {table}";

    /// <summary>One transaction that changes who one instance may be, and what it publishes.</summary>
    public static string Change(string table, Attachment? before, Attachment? after)
    {
        var script = new StringBuilder();
        if (before is not null && after is null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element bridge {table} ports {{ {Port(before)} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element bridge {table} senders {{ {Sender(before)} }}");
        }
        else if (before is null && after is not null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"add element bridge {table} ports {{ {Port(after)} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"add element bridge {table} senders {{ {Sender(after)} }}");
        }

        var (asked, asks) = (before is not null && IsAsker(before), after is not null && IsAsker(after));
        if (asked != asks)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"{(asks ? "add" : "delete")} element bridge {table} askers {{ {Asker((asks ? after : before)!)} }}");
        }

        // A limit cannot be changed, so that another rate is another limit.
        foreach (var gone in Limits(before).Except(Limits(after)))
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element bridge {table} {gone.Map} {{ {gone.Port} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete limit bridge {table} {gone.Name}");
        }

        foreach (var added in Limits(after).Except(Limits(before)))
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"add limit bridge {table} {added.Name} {{ {added.Rate} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"add element bridge {table} {added.Map} {{ {added.Element} }}");
        }

        foreach (var everywhere in (ReadOnlySpan<bool>)[true, false])
        {
            var old = Elements(before, everywhere);
            var now = Elements(after, everywhere);
            foreach (var gone in old.Where(element => !now.Contains(element)))
            {
                script.AppendLine(CultureInfo.InvariantCulture, $"delete element inet {table} {MapName(everywhere)} {{ {gone.Key} }}");
            }

            foreach (var added in now.Where(element => !old.Contains(element)))
            {
                script.AppendLine(CultureInfo.InvariantCulture, $"add element inet {table} {MapName(everywhere)} {{ {added.Key} : {added.Target} }}");
            }
        }

        return script.ToString();
    }

    private static string Port(Attachment attachment) => $"\"{attachment.LinkName}\"";

    private static string Sender(Attachment attachment) =>
        $"{Port(attachment)} . {attachment.Address.ToHardwareAddressText()} . {attachment.Address}";

    private static bool IsAsker(Attachment attachment) => attachment.Kind == ConnectionKind.Tap;

    private static string Asker(Attachment attachment)
    {
        var number = Convert.ToHexStringLower(attachment.Address.ToHardwareAddress().GetAddressBytes());
        return $"{Port(attachment)} . {attachment.Address.ToHardwareAddressText()} . 0x{number}";
    }

    private static IEnumerable<Limit> Limits(Attachment? attachment) => attachment is null ? [] : new[]
    {
        (Map: TransmitRates, Bytes: attachment.Rate.Transmit), (Map: ReceiveRates, Bytes: attachment.Rate.Receive),
    }.Where(rate => rate.Bytes > 0).Select(rate => new Limit(rate.Map, Port(attachment), $"{attachment.LinkName}-{rate.Map[0]}", rate.Bytes));

    private static IEnumerable<string> Published(RulesetInput input, bool everywhere) =>
        input.Attachments.SelectMany(attachment => Elements(attachment, everywhere)).Select(element => $"{element.Key} : {element.Target}");

    private static List<(string Key, string Target)> Elements(Attachment? attachment, bool everywhere)
    {
        var elements = new List<(string, string)>();
        foreach (var port in attachment?.Ports ?? [])
        {
            if (port.OnEveryAddress == everywhere)
            {
                var key = string.Create(CultureInfo.InvariantCulture, $"{(port.Protocol == PortProtocol.Udp ? "udp" : "tcp")} . {port.HostPort}");
                elements.Add((everywhere ? key : $"{port.HostAddress} . {key}", string.Create(CultureInfo.InvariantCulture, $"{attachment!.Address} . {port.InstancePort}")));
            }
        }

        return elements;
    }

    private static string Elements(IEnumerable<string> elements)
    {
        // nft knows no empty list.
        var list = string.Join(", ", elements);
        return list.Length == 0 ? "" : $"    elements = {{ {list} }}\n";
    }

    private static string MapName(bool everywhere) => everywhere ? "published" : "published_at";

    /// <summary>How much may pass a port in one direction.</summary>
    private readonly record struct Limit(string Map, string Port, string Prefix, long Bytes)
    {
        public string Name => string.Create(CultureInfo.InvariantCulture, $"{Prefix}-{Bytes}");

        public string Element => $"{Port} : \"{Name}\"";

        /// <summary>A bucket of one second's bytes and the burst (net/netfilter/nft_limit.c): what is more than is in it matches, and is dropped.</summary>
        public string Rate => string.Create(CultureInfo.InvariantCulture, $"rate over {Bytes} bytes/second burst {NetworkLimits.SmallestBurst} bytes");
    }
}
