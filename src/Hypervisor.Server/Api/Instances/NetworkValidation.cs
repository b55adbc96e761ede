using System.Net;
using System.Net.Sockets;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Published ports and name resolution of an instance.</summary>
internal static class NetworkValidation
{
    private const int MaxPort = 65535;

    public static void Check(NetworkSpec? network, string field, FieldViolations violations)
    {
        if (network is null)
        {
            return;
        }

        CheckPorts(network, $"{field}.ports", violations);
        RateValidation.Check(network.Rates, $"{field}.rates", violations);
        TextChecks.Count(network.DnsServers.Count, Limits.Instance.DnsServers, $"{field}.dns_servers", violations);
        for (var index = 0; index < Math.Min(network.DnsServers.Count, Limits.Instance.DnsServers); index++)
        {
            if (Address(network.DnsServers[index]) is null)
            {
                violations.Add($"{field}.dns_servers[{index}]", $"'{Printable.Quote(network.DnsServers[index])}' is not an IP address.");
            }
        }

        TextChecks.Count(network.DnsSearch.Count, Limits.Instance.DnsSearch, $"{field}.dns_search", violations);
        for (var index = 0; index < Math.Min(network.DnsSearch.Count, Limits.Instance.DnsSearch); index++)
        {
            if (!LabelSyntax.IsSubdomain(network.DnsSearch[index]))
            {
                violations.Add($"{field}.dns_search[{index}]", $"'{Printable.Quote(network.DnsSearch[index])}' is not a domain name (a-z, 0-9, '-', '.').");
            }
        }
    }

    private static void CheckPorts(NetworkSpec network, string field, FieldViolations violations)
    {
        TextChecks.Count(network.Ports.Count, Limits.Instance.Ports, field, violations);
        var taken = new List<(int Port, IpProtocol Protocol, string Address)>();
        for (var index = 0; index < Math.Min(network.Ports.Count, Limits.Instance.Ports); index++)
        {
            var port = network.Ports[index];
            var path = $"{field}[{index}]";
            TextChecks.Range(port.HostPort, 1, MaxPort, "", $"{path}.host_port", violations);
            TextChecks.Range(port.InstancePort, 1, MaxPort, "", $"{path}.instance_port", violations);
            TextChecks.Known(port.Protocol, $"{path}.protocol", violations);
            if (port.HostIp.Length > 0 && Address(port.HostIp) is not { AddressFamily: AddressFamily.InterNetwork })
            {
                violations.Add($"{path}.host_ip", $"'{Printable.Quote(port.HostIp)}' is not an IPv4 address; leave it out for all addresses.");
            }

            var protocol = port.Protocol == IpProtocol.Unspecified ? IpProtocol.Tcp : port.Protocol;
            var address = port.HostIp == "0.0.0.0" ? "" : port.HostIp;
            if (taken.Exists(other => other.Port == port.HostPort && other.Protocol == protocol
                && (other.Address == address || other.Address.Length == 0 || address.Length == 0)))
            {
                violations.Add($"{path}.host_port", $"{port.HostPort} is published by an earlier entry for the same protocol and address.");
            }

            taken.Add((port.HostPort, protocol, address));
        }
    }

    // IPAddress.TryParse also takes "1" and "0x7f.1", which are not what anyone means.
    private static IPAddress? Address(string text) =>
        text.Length <= 45 && IPAddress.TryParse(text, out var address)
        && (address.AddressFamily == AddressFamily.InterNetworkV6 ? address.ScopeId == 0 : address.ToString() == text)
            ? address
            : null;
}
