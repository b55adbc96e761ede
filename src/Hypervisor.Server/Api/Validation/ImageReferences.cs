namespace Hypervisor.Server.Api.Validation;

/// <summary>How instances name images: "name" or "name:tag", without '/'.</summary>
internal static class ImageReferences
{
    public const string DefaultTag = "latest";
    private const int MaxName = 128;
    private const int MaxTag = 128;

    public const string Expected =
        "'name' or 'name:tag', the name of a-z, 0-9 with single '.', '_' or '-' between, the tag of letters, digits, '_', '.', '-'";

    /// <returns>"name:tag", or null for what is no reference.</returns>
    public static string? Normalize(string reference)
    {
        var colon = reference.IndexOf(':', StringComparison.Ordinal);
        var name = colon < 0 ? reference : reference[..colon];
        var tag = colon < 0 ? DefaultTag : reference[(colon + 1)..];
        return IsName(name) && IsTag(tag) ? $"{name}:{tag}" : null;
    }

    private static bool IsName(string name)
    {
        if (name.Length is 0 or > MaxName || !char.IsAsciiLetterOrDigit(name[^1]))
        {
            return false;
        }

        var separated = true;
        foreach (var character in name)
        {
            var separator = character is '.' or '_' or '-';
            if ((separator && separated) || (!separator && !char.IsAsciiLetterLower(character) && !char.IsAsciiDigit(character)))
            {
                return false;
            }

            separated = separator;
        }

        return true;
    }

    private static bool IsTag(string tag) =>
        tag.Length is > 0 and <= MaxTag && tag[0] is not ('.' or '-')
        && tag.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '.' or '-');
}
