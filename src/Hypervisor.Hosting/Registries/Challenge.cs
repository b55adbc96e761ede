using System.Net.Http.Headers;

namespace Hypervisor.Hosting.Registries;

/// <summary>What a registry asks for with 401: RFC 9110 section 11.6.1, and Docker's token authentication for Bearer.</summary>
/// <param name="Realm">Where tokens are given out; null for Basic.</param>
internal sealed record Challenge(Uri? Realm, string Service)
{
    /// <summary>Bearer where it is offered, else Basic; null when neither is, or not readably.</summary>
    public static Challenge? Of(HttpHeaderValueCollection<AuthenticationHeaderValue> offered)
    {
        Challenge? basic = null;
        foreach (var challenge in offered)
        {
            if (challenge.Scheme.Equals("Basic", StringComparison.OrdinalIgnoreCase))
            {
                basic = new(null, "");
            }
            else if (challenge.Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase)
                && challenge.Parameter is { Length: <= RegistryLimits.ChallengeCharacters } text)
            {
                var parameters = Parameters(text);
                if (Uri.TryCreate(parameters.GetValueOrDefault("realm"), UriKind.Absolute, out var realm)
                    && realm.Scheme is "http" or "https" && realm.UserInfo.Length == 0)
                {
                    return new(realm, parameters.GetValueOrDefault("service", ""));
                }
            }
        }

        return basic;
    }

    private static Dictionary<string, string> Parameters(string text)
    {
        Dictionary<string, string> found = new(StringComparer.OrdinalIgnoreCase);
        var position = 0;
        while (position < text.Length)
        {
            var equals = text.IndexOf('=', position);
            if (equals < 0)
            {
                break;
            }

            var name = text[position..equals].Trim(' ', ',', '\t');
            position = equals + 1;
            string value;
            if (position < text.Length && text[position] == '"')
            {
                (value, position) = Quoted(text, position + 1);
            }
            else
            {
                var comma = text.IndexOf(',', position);
                var end = comma < 0 ? text.Length : comma;
                (value, position) = (text[position..end].Trim(), end);
            }

            found.TryAdd(name, value);
        }

        return found;
    }

    private static (string Value, int End) Quoted(string text, int start)
    {
        var value = new System.Text.StringBuilder();
        for (var index = start; index < text.Length; index++)
        {
            if (text[index] == '"')
            {
                return (value.ToString(), index + 1);
            }

            if (text[index] == '\\' && index + 1 < text.Length)
            {
                index++;
            }

            value.Append(text[index]);
        }

        return (value.ToString(), text.Length);
    }
}
