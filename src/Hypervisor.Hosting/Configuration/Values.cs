using System.Globalization;
using System.Net;
using Hypervisor.Protocol;

namespace Hypervisor.Hosting.Configuration;

/// <summary>How each kind of value is written.</summary>
public static class Values
{
    /// <summary>Any text without control characters, not empty, at most <paramref name="maxLength"/> characters.</summary>
    public static ValueParser<string> Text(int maxLength = 1024) => (string text, out string value) =>
    {
        value = text;
        return text.Length == 0 ? new("is empty", "give it a value or remove the key")
            : text.Any(char.IsControl) ? new("contains a control character", "remove it")
            : text.Length > maxLength ? new("is too long", $"at most {Number(maxLength)} characters")
            : null;
    };

    /// <summary>An absolute path of at most <paramref name="maxBytes"/> bytes, without ".." in it.</summary>
    public static ValueParser<string> AbsolutePath(int maxBytes = 4095) => (string text, out string value) =>
    {
        value = text;
        if (Text(4096)(text, out _) is { } complaint)
        {
            return complaint;
        }

        return !text.StartsWith('/') ? new("is not an absolute path", "begin it with /")
            : text.Split('/').Any(segment => segment is ".." or ".") ? new("contains . or ..", "write the path without them")
            : System.Text.Encoding.UTF8.GetByteCount(text) > maxBytes ? new("is too long", $"at most {Number(maxBytes)} bytes")
            : null;
    };

    /// <summary>An RFC 1123 label.</summary>
    public static Complaint? Label(string text, out string value)
    {
        value = text;
        return LabelSyntax.IsDnsLabel(text)
            ? null
            : new("is not an RFC 1123 label", "1-63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit");
    }

    /// <summary>true or false, and nothing else: "yes" means a boolean to one reader of YAML and text to another.</summary>
    public static Complaint? Bool(string text, out bool value)
    {
        value = text is "true" or "True" or "TRUE";
        return value || text is "false" or "False" or "FALSE" ? null : new("is not a boolean", "write true or false");
    }

    /// <summary>A decimal integer.</summary>
    public static ValueParser<int> WholeNumber(int minimum, int maximum) => (string text, out int value) =>
    {
        if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value))
        {
            return new("is not a whole number", $"write a number from {Number(minimum)} to {Number(maximum)}");
        }

        return value < minimum || value > maximum ? new("is out of range", $"{Number(minimum)} to {Number(maximum)}") : null;
    };

    /// <summary>As in Go: 500ms, 10s, 1.5s, 1h30m.</summary>
    public static ValueParser<TimeSpan> Duration(TimeSpan minimum, TimeSpan maximum) => (string text, out TimeSpan value) =>
    {
        if (!Units.TryParseDuration(text, out value))
        {
            return text.Length > 0 && text.All(char.IsAsciiDigit)
                ? new("has no unit", $"write {text}s for seconds or {text}ms for milliseconds")
                : new("is not a duration", "write it as 10s, 500ms or 1h30m");
        }

        return value < minimum || value > maximum ? new("is out of range", $"{Units.Format(minimum)} to {Units.Format(maximum)}") : null;
    };

    /// <summary>Bytes: 4096, 512MiB, 2G. K, M, G and T mean powers of 1024, as for systemd and QEMU.</summary>
    public static ValueParser<long> Size(long minimum, long maximum) => (string text, out long value) =>
    {
        if (!Units.TryParseSize(text, out value))
        {
            return text.EndsWith('B') && !text.EndsWith("iB", StringComparison.Ordinal)
                ? new("is ambiguous: KB, MB and GB mean powers of 1000 to some", "write KiB, MiB, GiB or TiB")
                : new("is not a size", "write it as 512MiB or 2G");
        }

        return value < minimum || value > maximum ? new("is out of range", $"{Units.FormatSize(minimum)} to {Units.FormatSize(maximum)}") : null;
    };

    /// <summary>An address to listen on; a missing host means every address.</summary>
    public static Complaint? ListenAddress(string text, out HostPort value) =>
        HostPort.TryParse(text, out value) ? null : new("is not an address", "write host:port, [v6]:port or :port, with a port from 0 to 65535");

    /// <summary>An address to call.</summary>
    public static Complaint? PeerAddress(string text, out HostPort value) =>
        HostPort.TryParse(text, out value) && !value.IsAny && value.Port != 0 ? null : new("is not an address to call", "write host:port with a port from 1 to 65535");

    /// <summary>A collector of telemetry that speaks OTLP over gRPC.</summary>
    public static Complaint? OtlpEndpoint(string text, out Uri? value)
    {
        var valid = Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.UserInfo.Length == 0 && uri.Host.Length > 0;
        value = valid ? uri : null;
        return valid ? null : new("is not the address of a collector", "write http://host:4317");
    }

    /// <summary>An IPv4 or IPv6 address.</summary>
    public static Complaint? IpAddress(string text, out IPAddress value)
    {
        // IPAddress.TryParse takes "1" and "0x7f.1" as well, as inet_aton did.
        var complete = text.Contains(':') || text.Count(c => c == '.') == 3;
        var parsed = IPAddress.TryParse(text, out var address) && complete && !text.Contains('%') && (text.Contains(':') || address.ToString() == text);
        value = parsed ? address! : IPAddress.None;
        return parsed ? null : new("is not an IP address", "write it as 192.0.2.1 or 2001:db8::1");
    }

    /// <summary>An IPv4 network in CIDR form whose host bits are zero.</summary>
    public static Complaint? Network4(string text, out IPNetwork value)
    {
        value = default;
        var slash = text.IndexOf('/');
        if (slash < 0 || IpAddress(text[..slash], out var address) is not null || address.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork
            || !int.TryParse(text.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var length) || length > 32)
        {
            return new("is not an IPv4 network", "write it as 10.128.0.0/10");
        }

        var bits = System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());
        var masked = length == 0 ? 0 : bits & (uint.MaxValue << (32 - length));
        if (masked != bits)
        {
            var bytes = new byte[4];
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(bytes, masked);
            return new("has host bits set", $"write {new IPAddress(bytes)}/{Number(length)}");
        }

        value = new IPNetwork(address, length);
        return null;
    }

    /// <summary>One of the given words.</summary>
    public static ValueParser<T> OneOf<T>(params (string Word, T Value)[] choices) => (string text, out T value) =>
    {
        foreach (var choice in choices)
        {
            if (choice.Word == text)
            {
                value = choice.Value;
                return null;
            }
        }

        value = default!;
        var nearest = Suggestion.For(text, choices.Select(choice => choice.Word));
        return new(
            "is not one of the choices",
            (nearest is null ? "" : $"did you mean \"{nearest}\"? ") + $"Write {string.Join(", ", choices.Select(choice => choice.Word))}");
    };

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
