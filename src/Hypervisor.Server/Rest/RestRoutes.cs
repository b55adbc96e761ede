namespace Hypervisor.Server.Rest;

/// <summary>Which method a request is for.</summary>
internal sealed class RestRoutes
{
    private readonly IReadOnlyList<RestMethod> _methods;

    /// <exception cref="FormatException">Two methods are reached alike.</exception>
    public RestRoutes(IEnumerable<RestMethod> methods)
    {
        // A verb is more than a name that happens to contain a colon.
        _methods = [.. methods.OrderByDescending(method => method.Binding.Path.Verb.Length > 0)];
        var twice = _methods.GroupBy(method => $"{method.Binding.Verb} {method.Binding.Path.Plain()}").FirstOrDefault(group => group.Count() > 1);
        if (twice is not null)
        {
            throw new FormatException($"{twice.Key} reaches {string.Join(" and ", twice.Select(method => method.FullName))}.");
        }
    }

    public IReadOnlyList<RestMethod> Methods => _methods;

    /// <param name="path">Percent-encoded, without the query.</param>
    /// <param name="allowed">The verbs that the path has, when it has not this one.</param>
    public RestMatch? Find(string verb, string path, out IReadOnlyList<string> allowed)
    {
        var others = new List<string>();
        foreach (var method in _methods)
        {
            if (method.Binding.Path.Match(path) is not { } values)
            {
                continue;
            }

            if (method.Binding.Verb == verb)
            {
                allowed = [];
                return new(method, values);
            }

            others.Add(method.Binding.Verb);
        }

        allowed = [.. others.Distinct().Order(StringComparer.Ordinal)];
        return null;
    }
}

/// <param name="PathValues">Decoded, by field path.</param>
internal sealed record RestMatch(RestMethod Method, IReadOnlyList<(string Field, string Value)> PathValues);
