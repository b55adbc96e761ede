using System.Text.RegularExpressions;

namespace Hypervisor.Server.Images;

/// <summary>
/// How an image is called in its project: "name:tag". The name is one path component of the OCI distribution specification
/// (no '/': store keys have none), at most 128 characters; the tag is as there, "latest" when left out.
/// </summary>
internal readonly partial record struct ImageReference(string Name, string Tag)
{
    public const string DefaultTag = "latest";

    public const string Rule =
        "write name or name:tag; a name is 1-128 of a-z, 0-9 and single . _ - between them, without '/'; a tag is 1-128 of letters, digits, . _ -";

    /// <summary>From "name" or "name:tag".</summary>
    public static bool TryParse(string text, out ImageReference reference)
    {
        var colon = text.IndexOf(':');
        reference = colon < 0 ? new(text, DefaultTag) : new(text[..colon], text[(colon + 1)..]);
        return reference.Name.Length <= 128 && NamePattern().IsMatch(reference.Name) && TagPattern().IsMatch(reference.Tag);
    }

    /// <summary>From what an archive calls an image, "docker.io/library/busybox:1.36": registry and path are left out.</summary>
    public static bool TryParseForeign(string text, out ImageReference reference) => TryParse(text[(text.LastIndexOf('/') + 1)..].Split('@')[0], out reference);

    public override string ToString() => $"{Name}:{Tag}";

    [GeneratedRegex(@"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*\z", RegexOptions.CultureInvariant)]
    private static partial Regex NamePattern();

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\z", RegexOptions.CultureInvariant)]
    private static partial Regex TagPattern();
}
