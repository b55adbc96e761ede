using System.Net;
using System.Net.Sockets;

namespace Hypervisor.Agent.Networking;

/// <summary>Whom instances ask for names.</summary>
internal static class Resolvers
{
    /// <summary>Those that an instance asks for, else those of the agent's configuration, else the node's own.</summary>
    public static IReadOnlyList<IPAddress> For(IReadOnlyCollection<string> requested, IReadOnlyList<IPAddress> configured) =>
        requested.Count > 0 ? Parse(requested) : configured.Count > 0 ? configured : OfNode();

    /// <summary>Addresses, at most three; what is none is left out.</summary>
    public static IReadOnlyList<IPAddress> Parse(IEnumerable<string> addresses) =>
        [.. addresses.Select(text => IPAddress.TryParse(text, out var address) ? address : null).OfType<IPAddress>().Take(NetworkLimits.DnsServersPerInstance)];

    /// <summary>Those that a guest can be told by DHCP over IPv4.</summary>
    public static IEnumerable<IPAddress> OverIpv4(this IEnumerable<IPAddress> servers) => servers.Where(server => server.AddressFamily == AddressFamily.InterNetwork);

    /// <summary>
    /// Those of the node that an instance can reach: a resolver on the node's loopback is not among them, so behind
    /// systemd-resolved the list it keeps of real ones is read instead.
    /// </summary>
    public static IReadOnlyList<IPAddress> OfNode()
    {
        foreach (var path in new[] { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" })
        {
            if (!File.Exists(path))
            {
                continue;
            }

            var servers = Parse(File.ReadAllLines(path)
                .Select(line => line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries))
                .Where(words => words is ["nameserver", _, ..] && !(IPAddress.TryParse(words[1], out var address) && IPAddress.IsLoopback(address)))
                .Select(words => words[1]));
            if (servers.Count > 0)
            {
                return servers;
            }
        }

        return [];
    }
}
