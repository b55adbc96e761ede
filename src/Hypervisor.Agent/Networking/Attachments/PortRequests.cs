using System.Net;
using System.Net.Sockets;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Networking.Attachments;

/// <summary>Reads the ports of a network spec. The API checked them; what reaches the packet filter is checked again.</summary>
internal static class PortRequests
{
    /// <exception cref="DriverException">InvalidNetwork: a value out of range.</exception>
    public static IReadOnlyList<Publication> Parse(NetworkSpec spec)
    {
        if (spec.Ports.Count > NetworkLimits.PublishedPortsPerInstance)
        {
            throw Invalid($"{spec.Ports.Count} published ports are more than the {NetworkLimits.PublishedPortsPerInstance} an instance may have");
        }

        var ports = new List<Publication>(spec.Ports.Count);
        foreach (var requested in spec.Ports)
        {
            var port = Parse(requested);
            if (ports.Find(port.CollidesWith) is { } twice)
            {
                throw Invalid($"{port} is published twice (also as {twice})");
            }

            ports.Add(port);
        }

        return ports;
    }

    /// <summary>Refuses ports that another instance has published.</summary>
    /// <exception cref="DriverException">PortInUse.</exception>
    public static void RefuseCollisions(InstanceId id, IReadOnlyList<Publication> ports, IEnumerable<Attachment> attachments)
    {
        if (ports.Count == 0)
        {
            return;
        }

        foreach (var other in attachments.Where(other => other.Id != id))
        {
            foreach (var taken in other.Ports)
            {
                if (ports.FirstOrDefault(taken.CollidesWith) is { } wanted)
                {
                    throw new DriverException(
                        "PortInUse",
                        $"Port {wanted} of this node is published by instance {other.Id} (as {taken}). Choose another host_port, or another node by a constraint.",
                        permanent: false);
                }
            }
        }
    }

    /// <summary>Refuses a port on which a process of the host listens: translation would take its traffic away.</summary>
    /// <remarks>In the calling thread's network namespace. A process that begins to listen later loses silently, as with every translated port.</remarks>
    /// <exception cref="DriverException">PortInUse, AddressNotOnNode.</exception>
    public static void RefuseListeners(Publication port)
    {
        var udp = port.Protocol == PortProtocol.Udp;
        using var probe = new Socket(AddressFamily.InterNetwork, udp ? SocketType.Dgram : SocketType.Stream, udp ? ProtocolType.Udp : ProtocolType.Tcp);
        try
        {
            probe.Bind(new IPEndPoint(port.HostAddress, port.HostPort));
        }
        catch (SocketException refused) when (refused.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            throw new DriverException("PortInUse", $"A process of this node listens on {port}. Stop it, or choose another host_port.", permanent: false, refused);
        }
        catch (SocketException refused) when (refused.SocketErrorCode == SocketError.AddressNotAvailable)
        {
            throw new DriverException("AddressNotOnNode", $"{port.HostAddress} is not an address of this node: leave network.ports.host_ip empty to listen on all.", permanent: false, refused);
        }
    }

    private static Publication Parse(PublishedPort requested)
    {
        if (requested.HostPort is < 1 or > 65535)
        {
            throw Invalid($"host_port {requested.HostPort} is not within 1-65535");
        }

        if (requested.InstancePort is < 1 or > 65535)
        {
            throw Invalid($"instance_port {requested.InstancePort} is not within 1-65535");
        }

        var protocol = requested.Protocol switch
        {
            IpProtocol.Unspecified or IpProtocol.Tcp => PortProtocol.Tcp,
            IpProtocol.Udp => PortProtocol.Udp,
            _ => throw Invalid($"protocol {(int)requested.Protocol} is neither TCP nor UDP"),
        };
        var address = IPAddress.Any;
        if (requested.HostIp.Length > 0
            && (!IPAddress.TryParse(requested.HostIp, out address) || address.AddressFamily != AddressFamily.InterNetwork || address.ToString() != requested.HostIp))
        {
            throw Invalid($"host_ip \"{requested.HostIp}\" is not an IPv4 address");
        }

        return new(protocol, address, requested.HostPort, requested.InstancePort);
    }

    private static DriverException Invalid(string what) => new("InvalidNetwork", $"network.ports: {what}.", permanent: true);
}
