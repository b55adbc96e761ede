namespace Hypervisor.Protocol;

/// <summary>
/// What names and labels may look like, as in Kubernetes: names are RFC 1123 labels; keys of labels are an optional DNS
/// subdomain and '/', then a name of at most 63 characters; values are empty or such a name.
/// </summary>
public static class LabelSyntax
{
    private const int MaxName = 63;
    private const int MaxPrefix = 253;

    /// <returns>What is wrong with the key, or null.</returns>
    public static string? KeyProblem(string key)
    {
        var slash = key.IndexOf('/', StringComparison.Ordinal);
        if (slash >= 0 && !IsSubdomain(key.AsSpan(0, slash)))
        {
            return "the part before '/' must be a DNS name of at most 253 characters (a-z, 0-9, '-', '.')";
        }

        return IsName(key.AsSpan(slash + 1))
            ? null
            : "must be 1-63 characters of A-Z, a-z, 0-9, '-', '_', '.', beginning and ending with a letter or digit, after an optional 'prefix/'";
    }

    /// <returns>What is wrong with the value, or null.</returns>
    public static string? ValueProblem(string value) => value.Length == 0 || IsName(value)
        ? null
        : "must be empty or 1-63 characters of A-Z, a-z, 0-9, '-', '_', '.', beginning and ending with a letter or digit";

    /// <summary>RFC 1123 label: 1-63 of a-z, 0-9 and '-', not at the ends.</summary>
    public static bool IsDnsLabel(ReadOnlySpan<char> text)
    {
        if (text.Length is 0 or > MaxName || text[0] == '-' || text[^1] == '-')
        {
            return false;
        }

        foreach (var character in text)
        {
            if (!char.IsAsciiLetterLower(character) && !char.IsAsciiDigit(character) && character != '-')
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>DNS labels joined by '.', at most 253 characters.</summary>
    public static bool IsSubdomain(ReadOnlySpan<char> text)
    {
        if (text.Length is 0 or > MaxPrefix)
        {
            return false;
        }

        foreach (var label in text.Split('.'))
        {
            if (!IsDnsLabel(text[label]))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsName(ReadOnlySpan<char> text)
    {
        if (text.Length is 0 or > MaxName || !char.IsAsciiLetterOrDigit(text[0]) || !char.IsAsciiLetterOrDigit(text[^1]))
        {
            return false;
        }

        foreach (var character in text)
        {
            if (!char.IsAsciiLetterOrDigit(character) && character is not ('-' or '_' or '.'))
            {
                return false;
            }
        }

        return true;
    }
}
