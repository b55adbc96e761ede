using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Connection;

/// <summary>Where the server listens, and which setting said so.</summary>
internal sealed record ServerAddress(Uri Uri, string Source)
{
    public const string Default = "127.0.0.1:50051";

    public override string ToString() => Uri.Scheme == "http" ? Uri.Authority : Uri.GetLeftPart(UriPartial.Authority);

    /// <summary>Takes "host:port", "http://host:port" or "https://host:port"; the port defaults to 50051.</summary>
    public static ServerAddress Parse(string text, string source)
    {
        var withScheme = text.Contains("://", StringComparison.Ordinal) ? text : "http://" + text;
        if (!Uri.TryCreate(withScheme, UriKind.Absolute, out var uri)
            || uri.Scheme is not ("http" or "https")
            || uri.Host.Length == 0
            || uri.PathAndQuery != "/"
            || uri.UserInfo.Length > 0)
        {
            throw CtlException.Usage($"{source}: '{text}' is no server address.", "Write it as HOST:PORT, for example 127.0.0.1:50051.");
        }

        var authority = withScheme[(withScheme.IndexOf("://", StringComparison.Ordinal) + 3)..].TrimEnd('/');
        var hasPort = authority.LastIndexOf(':') > authority.LastIndexOf(']');
        return new(hasPort ? uri : new UriBuilder(uri) { Port = 50051 }.Uri, source);
    }
}
