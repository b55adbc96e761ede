using System.Buffers;
using System.Globalization;
using System.Net;

namespace Hypervisor.Hosting.Configuration;

/// <summary>A host and a TCP port, written <c>host:port</c>, <c>[v6]:port</c> or, to listen on every address, <c>:port</c>.</summary>
/// <param name="Host">Name or address without brackets; empty means every address of this machine.</param>
/// <param name="Port">0-65535; 0 lets the system choose when listening.</param>
public readonly record struct HostPort(string Host, int Port)
{
    private static readonly SearchValues<char> AddressCharacters = SearchValues.Create("0123456789.");

    /// <summary>The port cannot be reached from another machine.</summary>
    public bool IsLoopback =>
        Host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(Host, out var address) && IPAddress.IsLoopback(address));

    /// <summary>Listening here means listening on every address.</summary>
    public bool IsAny => Host.Length == 0 || (IPAddress.TryParse(Host, out var address) && (address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any)));

    /// <summary>Reads one of the three forms. Host names follow RFC 1123 and are not looked up.</summary>
    public static bool TryParse(string text, out HostPort endpoint)
    {
        endpoint = default;
        var colon = text.LastIndexOf(':');
        if (colon < 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port))
        {
            return false;
        }

        var host = text[..colon];
        if (host.StartsWith('[') && host.EndsWith(']'))
        {
            host = host[1..^1];
            if (!IPAddress.TryParse(host, out var v6) || v6.AddressFamily != System.Net.Sockets.AddressFamily.InterNetworkV6)
            {
                return false;
            }
        }
        else if (host.Length > 0 && !IsHostName(host))
        {
            return false;
        }

        endpoint = new HostPort(host, port);
        return true;
    }

    public override string ToString() =>
        Host.Contains(':') ? $"[{Host}]:{Port.ToString(CultureInfo.InvariantCulture)}" : $"{Host}:{Port.ToString(CultureInfo.InvariantCulture)}";

    private static bool IsHostName(string host)
    {
        if (host.Length > 253)
        {
            return false;
        }

        // All digits and dots is meant as an address: "1.2.3" and "10.0.0.256" are typing errors, not names.
        if (!host.AsSpan().ContainsAnyExcept(AddressCharacters))
        {
            return IPAddress.TryParse(host, out _) && host.AsSpan().Count('.') == 3;
        }

        foreach (var range in host.AsSpan().Split('.'))
        {
            var label = host.AsSpan()[range];
            if (label.Length is 0 or > 63 || label[0] == '-' || label[^1] == '-')
            {
                return false;
            }

            foreach (var character in label)
            {
                if (!char.IsAsciiLetterOrDigit(character) && character != '-')
                {
                    return false;
                }
            }
        }

        return true;
    }
}
