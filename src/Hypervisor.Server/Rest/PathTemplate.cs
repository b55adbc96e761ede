using System.Text;

namespace Hypervisor.Server.Rest;

/// <summary>
/// A path as google.api.http writes it: literals, <c>{field.path}</c> for one segment, <c>{field.path=**}</c> for all that is left,
/// <c>:verb</c> at the end.
/// </summary>
internal sealed class PathTemplate
{
    private readonly IReadOnlyList<Segment> _segments;

    private PathTemplate(string text, IReadOnlyList<Segment> segments, string verb) => (Text, _segments, Verb) = (text, segments, verb);

    public string Text { get; }

    /// <summary>What follows the last colon; empty when there is none.</summary>
    public string Verb { get; }

    /// <summary>Field paths of the request that the path gives.</summary>
    public IEnumerable<string> Fields => _segments.Where(segment => segment.Field is not null).Select(segment => segment.Field!);

    /// <summary>
    /// The fields with the names that the description calls them by: what stands before each, in the singular. Two methods on one
    /// path take it into different fields, and OpenAPI knows a path only once.
    /// </summary>
    public IEnumerable<(string Field, string Name)> Parameters => _segments.Zip(_segments.Skip(1))
        .Where(pair => pair.Second.Field is not null)
        .Select(pair => (pair.Second.Field!, pair.First.Literal.TrimEnd('s')));

    /// <exception cref="FormatException">Not such a template.</exception>
    public static PathTemplate Parse(string text)
    {
        // A colon inside braces would be a pattern's; none of our patterns has one.
        var colon = text.LastIndexOf(':');
        var verb = colon < 0 ? "" : text[(colon + 1)..];
        var path = colon < 0 ? text : text[..colon];
        if (!path.StartsWith('/') || path.Length == 1)
        {
            throw new FormatException($"'{text}' does not begin with '/'.");
        }

        var segments = path[1..].Split('/').Select(Segment.Parse).ToList();
        if (segments.Zip(segments.Skip(1)).Any(pair => pair is { First.Field: not null, Second.Field: not null }) || segments[0].Field is not null)
        {
            throw new FormatException($"'{text}': every field stands after a word of its own.");
        }

        return segments.SkipLast(1).Any(segment => segment.TakesAll)
            ? throw new FormatException($"'{text}': '**' can only come last.")
            : new(text, segments, verb);
    }

    /// <summary>The fields' values, or null when the path is another one.</summary>
    /// <param name="path">As it came: percent-encoded, without the query.</param>
    public IReadOnlyList<(string Field, string Value)>? Match(string path)
    {
        if (!path.StartsWith('/'))
        {
            return null;
        }

        // The verb is looked for before decoding: an encoded colon belongs to a value.
        if (Verb.Length > 0)
        {
            if (!path.EndsWith(Verb, StringComparison.Ordinal) || path.Length <= Verb.Length || path[^(Verb.Length + 1)] != ':')
            {
                return null;
            }

            path = path[..^(Verb.Length + 1)];
        }

        var parts = path[1..].Split('/');
        if (parts.Length < _segments.Count || (parts.Length > _segments.Count && !_segments[^1].TakesAll))
        {
            return null;
        }

        var values = new List<(string, string)>();
        for (var index = 0; index < _segments.Count; index++)
        {
            var segment = _segments[index];
            if (segment.Field is not { } field)
            {
                if (parts[index] != segment.Literal)
                {
                    return null;
                }

                continue;
            }

            var value = segment.TakesAll
                ? string.Join('/', parts.Skip(index).Select(Uri.UnescapeDataString))
                : Uri.UnescapeDataString(parts[index]);
            if (value.Length == 0)
            {
                return null;
            }

            values.Add((field, value));
        }

        return values;
    }

    /// <summary>As OpenAPI writes it: without patterns.</summary>
    public string Plain()
    {
        var text = new StringBuilder();
        var names = Parameters.ToDictionary(parameter => parameter.Field, parameter => parameter.Name, StringComparer.Ordinal);
        foreach (var segment in _segments)
        {
            text.Append('/').Append(segment.Field is { } field ? $"{{{names[field]}}}" : segment.Literal);
        }

        return Verb.Length == 0 ? text.ToString() : text.Append(':').Append(Verb).ToString();
    }

    private readonly record struct Segment(string Literal, string? Field, bool TakesAll)
    {
        public static Segment Parse(string text)
        {
            if (!text.StartsWith('{'))
            {
                return text.Length == 0 || text.Contains('*', StringComparison.Ordinal)
                    ? throw new FormatException($"'{text}' is no segment of a path.")
                    : new(text, null, false);
            }

            if (!text.EndsWith('}'))
            {
                throw new FormatException($"'{text}' has no closing brace.");
            }

            var parts = text[1..^1].Split('=');
            return parts switch
            {
                [var field] => new("", field, false),
                [var field, "**"] => new("", field, true),
                _ => throw new FormatException($"'{text}': only '**' is known as a pattern."),
            };
        }
    }
}
