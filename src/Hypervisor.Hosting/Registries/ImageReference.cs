using System.Text.RegularExpressions;
using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Hosting.Registries;

/// <summary>
/// How an image is called: [registry/]path[:tag][@digest], as in the OCI distribution specification and at every other tool:
/// "ubuntu" is docker.io/library/ubuntu:latest. Two spellings of the same image compare equal.
/// </summary>
/// <param name="Registry">"host" or "host:port"; docker.io when left out.</param>
/// <param name="Repository">Below the registry: "library/ubuntu".</param>
/// <param name="Tag">"latest" when neither tag nor digest is given; empty beside a digest without one.</param>
/// <param name="Digest">"sha256:..."; empty when there is none. It decides; a tag beside it is for people.</param>
internal readonly partial record struct ImageReference(string Registry, string Repository, string Tag, string Digest)
{
    public const string DefaultRegistry = "docker.io";
    public const string DefaultTag = "latest";

    public const string Rule =
        "write [registry/]name[:tag][@sha256:...]; a name is parts of a-z, 0-9 and single . _ - between them, joined by '/', "
        + "at most 255 characters with its registry; a tag is 1-128 of letters, digits, . _ -";

    private const string OfficialImages = "library/";
    private const int MaxName = 255;

    /// <summary>What is asked of the registry: the digest where there is one, else the tag.</summary>
    public string Target => Digest.Length > 0 ? Digest : Tag;

    public static bool TryParse(string text, out ImageReference reference)
    {
        reference = default;
        var at = text.IndexOf('@');
        var digest = at < 0 ? "" : text[(at + 1)..];
        var rest = at < 0 ? text : text[..at];
        if (at >= 0 && !DigestPattern().IsMatch(digest))
        {
            return false;
        }

        var slash = rest.IndexOf('/');
        var registry = slash > 0 && IsRegistry(rest[..slash]) ? rest[..slash] : "";
        var name = registry.Length == 0 ? rest : rest[(slash + 1)..];
        var colon = name.IndexOf(':');
        var tag = colon < 0 ? "" : name[(colon + 1)..];
        var path = colon < 0 ? name : name[..colon];
        if (path.Length + registry.Length > MaxName || !PathPattern().IsMatch(path) || (colon >= 0 && !TagPattern().IsMatch(tag))
            || (registry.Length > 0 && !IsHost(registry)))
        {
            return false;
        }

        if (registry is "" or "index." + DefaultRegistry)
        {
            registry = DefaultRegistry;
        }

        reference = new(
            registry,
            registry == DefaultRegistry && !path.Contains('/') ? OfficialImages + path : path,
            tag.Length == 0 && digest.Length == 0 ? DefaultTag : tag,
            digest);
        return true;
    }

    /// <summary>From what an archive calls an image, "docker.io/library/busybox:1.36": registry, path and digest are left out.</summary>
    public static bool TryParseForeign(string text, out ImageReference reference) => TryParse(text[(text.LastIndexOf('/') + 1)..].Split('@')[0], out reference);

    /// <summary>The shortest spelling, always with tag or digest: "ubuntu:latest", "team/app:1", "registry.example:5000/app:1".</summary>
    public override string ToString()
    {
        var name = Registry != DefaultRegistry ? $"{Registry}/{Repository}"
            : Repository.StartsWith(OfficialImages, StringComparison.Ordinal) && Repository.IndexOf('/', OfficialImages.Length) < 0 ? Repository[OfficialImages.Length..]
            : Repository;
        return $"{name}{(Tag.Length > 0 ? ":" : "")}{Tag}{(Digest.Length > 0 ? "@" : "")}{Digest}";
    }

    /// <summary>"localhost", or something with a dot or a port; anything else before a '/' is the first part of a path.</summary>
    private static bool IsRegistry(string text) => text is "localhost" || text.AsSpan().ContainsAny('.', ':', '[');

    /// <summary>A name or address, with or without a port, in lower case: hosts are compared as text.</summary>
    public static bool IsHost(string text) =>
        !text.AsSpan().ContainsAnyInRange('A', 'Z') && text[0] != ':'
        && ((HostPort.TryParse(text, out var endpoint) && endpoint.Port > 0) || HostPort.TryParse(text + ":443", out _));

    [GeneratedRegex(@"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z", RegexOptions.CultureInvariant)]
    private static partial Regex PathPattern();

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\z", RegexOptions.CultureInvariant)]
    private static partial Regex TagPattern();

    [GeneratedRegex(@"^sha256:[0-9a-f]{64}\z", RegexOptions.CultureInvariant)]
    private static partial Regex DigestPattern();
}
