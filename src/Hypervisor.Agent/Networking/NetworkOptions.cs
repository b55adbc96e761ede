using System.Net;

namespace Hypervisor.Agent.Networking;

/// <summary>Where the node network lives and what it is called.</summary>
internal sealed record NetworkOptions
{
    private readonly string _bridge = "hv0";

    /// <summary>Name of the bridge: a letter, then letters, digits, '_', '.' and '-', at most 15 characters in all.</summary>
    /// <exception cref="ArgumentException">Anything else: it becomes part of rules and of paths under /proc/sys.</exception>
    public string Bridge
    {
        get => _bridge;
        init => _bridge = value is { Length: >= 1 and <= 15 } && char.IsAsciiLetter(value[0])
            && value.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '.' or '-')
            ? value
            : throw new ArgumentException($"network.bridge: \"{value}\" is no interface name: use a letter, then letters, digits, '_', '.' or '-', at most 15 in all.", nameof(value));
    }

    /// <summary>Survives a reboot: records go to network/ below it.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Does not survive a reboot: namespaces are mounted in netns/ below it, the DHCP server's files are in dhcp/.</summary>
    public required string RunDirectory { get; init; }

    /// <summary>Of the bridge and everything on it, in bytes; 0 for that of the host's default route.</summary>
    public int Mtu { get; init; }

    /// <summary>Resolvers for guests that name none; none means the node's own.</summary>
    public IReadOnlyList<IPAddress> DnsServers { get; init; } = [];

    /// <summary>The DHCP server: a path, or a name to be found in PATH or /usr/sbin.</summary>
    public string DhcpProgram { get; init; } = "dnsmasq";

    /// <summary>The network namespace to be the host's; null for the process's own. Tests keep the machine's untouched with it.</summary>
    public string? HostNamespace { get; init; }

    public string StateDirectory => Path.Combine(DataDirectory, "network");
}
