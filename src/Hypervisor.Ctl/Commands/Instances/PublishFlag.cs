using System.Globalization;
using System.Net;
using Hypervisor.Ctl.Errors;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>"[IP:]HOST-PORT:INSTANCE-PORT[/tcp|/udp]".</summary>
internal static class PublishFlag
{
    public static PublishedPort Parse(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..];
        var parts = (slash < 0 ? text : text[..slash]).Split(':');
        if (protocol is not ("tcp" or "udp")
            || parts.Length is not (2 or 3)
            || !TryPort(parts[^2], out var host)
            || !TryPort(parts[^1], out var instance)
            || (parts.Length == 3 && !IPAddress.TryParse(parts[0], out _)))
        {
            throw CtlException.Usage($"--publish: '{text}' is no port.", "Write 8080:80, 5353:53/udp or 127.0.0.1:8080:80 (ports 1-65535).");
        }

        return new()
        {
            HostIp = parts.Length == 3 ? parts[0] : "",
            HostPort = host,
            InstancePort = instance,
            Protocol = protocol == "udp" ? IpProtocol.Udp : IpProtocol.Tcp,
        };
    }

    private static bool TryPort(string text, out int port) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port is >= 1 and <= 65535;
}
