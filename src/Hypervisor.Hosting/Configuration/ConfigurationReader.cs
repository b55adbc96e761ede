using System.Globalization;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Hosting.Configuration;

/// <summary>
/// Reads typed values from a document and from the environment, and collects every error instead of stopping at the first.
/// </summary>
/// <remarks>
/// <para>
/// Keys are paths, "heartbeat.interval". The environment wins over the file: the variable of a key is the program's prefix
/// and the key in upper case with '_' for '.', so for the server HYPERVISOR_SERVER_HEARTBEAT_INTERVAL. Lists are written there
/// separated by commas, maps as "a=b,c=d". A variable with the prefix that names no key is refused like an unknown key,
/// except PREFIX_CONFIG, which programs use for the path of the file.
/// </para>
/// <para>Read every key once, then call <see cref="ThrowIfInvalid"/>: what was never read is unknown.</para>
/// </remarks>
public sealed class ConfigurationReader(YamlDocument document, string environmentPrefix, IReadOnlyDictionary<string, string> environment)
{
    private readonly List<(int Line, string Text)> _errors = [];
    private readonly Dictionary<string, string> _keyOfVariable = new(StringComparer.Ordinal);
    private readonly HashSet<string> _keys = new(StringComparer.Ordinal);

    /// <summary>The variables of this process that begin with the prefix and an underscore.</summary>
    public static IReadOnlyDictionary<string, string> ProcessEnvironment(string prefix)
    {
        Dictionary<string, string> variables = new(StringComparer.Ordinal);
        foreach (System.Collections.DictionaryEntry entry in Environment.GetEnvironmentVariables())
        {
            if (entry.Key is string name && name.StartsWith(prefix + "_", StringComparison.Ordinal))
            {
                variables[name] = entry.Value as string ?? "";
            }
        }

        return variables;
    }

    /// <summary>A single value.</summary>
    public T Value<T>(string key, T fallback, ValueParser<T> parse)
    {
        var source = Source(key);
        return source is not null && Scalar(key, source, out var text) && Parse(key, source, text, parse, out var value) ? value : fallback;
    }

    /// <summary>A value that no message and no log shows.</summary>
    public Secret Secret(string key)
    {
        var source = Source(key);
        return source is not null && Scalar(key, source, out var text) ? new Secret(text) : default;
    }

    /// <summary>A list of at most <paramref name="maxItems"/> different values.</summary>
    public IReadOnlyList<T> List<T>(string key, IReadOnlyList<T> fallback, int maxItems, ValueParser<T> parse)
    {
        var source = Source(key);
        if (source is null)
        {
            return fallback;
        }

        List<(string Text, Where Where)> texts = [];
        switch (source.Node)
        {
            case null:
                texts.AddRange(source.Text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(text => (text, source)));
                break;
            case YamlSequence sequence:
                foreach (var item in sequence.Items)
                {
                    var where = source with { Node = item, Line = item.Line };
                    if (Scalar(key, where, out var text))
                    {
                        texts.Add((text, where));
                    }
                }

                break;
            default:
                Report(source, key, $"is {source.Node.Kind}", "write a list: [a, b]");
                return fallback;
        }

        if (texts.Count > maxItems)
        {
            Report(source, key, $"has {Number(texts.Count)} entries", $"at most {Number(maxItems)}");
            return fallback;
        }

        List<T> values = [];
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach (var (text, where) in texts)
        {
            if (!seen.Add(text))
            {
                Report(where, key, $"repeats an entry ({DisplayText.Of(text)})", "keep one of them");
            }
            else if (Parse(key, where, text, parse, out var value))
            {
                values.Add(value);
            }
        }

        return values;
    }

    /// <summary>A map of at most <paramref name="maxItems"/> texts; <paramref name="check"/> judges each key and value.</summary>
    public IReadOnlyDictionary<string, string> Map(string key, int maxItems, Func<string, string, Complaint?> check)
    {
        SortedDictionary<string, string> values = new(StringComparer.Ordinal);
        if (Source(key) is not { } source)
        {
            return values;
        }

        List<(string Key, string Value, Where Where)> pairs = [];
        switch (source.Node)
        {
            case null:
                foreach (var pair in source.Text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
                {
                    var equals = pair.IndexOf('=');
                    pairs.Add((equals < 0 ? pair : pair[..equals], equals < 0 ? "" : pair[(equals + 1)..], source));
                }

                break;
            case YamlMapping mapping:
                foreach (var entry in mapping.Entries)
                {
                    var where = source with { Node = entry.Value, Line = entry.Line };
                    if (entry.Value is YamlScalar { IsNull: true })
                    {
                        pairs.Add((entry.Key, "", where));
                    }
                    else if (Scalar($"{key}.{DisplayText.Of(entry.Key)}", where, out var text))
                    {
                        pairs.Add((entry.Key, text, where));
                    }
                }

                break;
            default:
                Report(source, key, $"is {source.Node.Kind}", "write one \"name: value\" per line under it");
                return values;
        }

        if (pairs.Count > maxItems)
        {
            Report(source, key, $"has {Number(pairs.Count)} entries", $"at most {Number(maxItems)}");
            return values;
        }

        foreach (var (name, value, where) in pairs)
        {
            var complaint = check(name, value) ?? (values.TryAdd(name, value) ? null : new Complaint("is given twice", "keep one of them"));
            if (complaint is not null)
            {
                Report(where, $"{key}.{DisplayText.Of(name)}", $"{complaint.What} ({DisplayText.Of(value)})", complaint.Remedy);
            }
        }

        return values;
    }

    /// <summary>
    /// A list of sections of the file: the prefix of each one's keys, "registries[0]". The environment adds none; it wins over
    /// the values of those that are there (PREFIX_REGISTRIES_0_HOST).
    /// </summary>
    public IReadOnlyList<string> Sections(string key, int maxItems)
    {
        if (Source(key) is not { } source)
        {
            return [];
        }

        if (source.Node is not YamlSequence { Items: var items } || items.Any(item => item is not YamlMapping))
        {
            Report(source, key, $"is {(source.Node is YamlSequence ? "a list of something else" : source.Node?.Kind ?? "a value")}", "write a list of sections in the file, each begun with \"- \"");
            return [];
        }

        if (items.Count > maxItems)
        {
            Report(source, key, $"has {Number(items.Count)} entries", $"at most {Number(maxItems)}");
            return [];
        }

        return [.. items.Select((_, index) => $"{key}[{Number(index)}]")];
    }

    /// <summary>The file or the environment gives this key, or any key below it.</summary>
    public bool IsSet(string key)
    {
        var variable = Variable(key);
        return Find(key) is not null || environment.ContainsKey(variable)
            || environment.Keys.Any(name => name.StartsWith(variable + "_", StringComparison.Ordinal));
    }

    /// <summary>Reports what is wrong with a combination of values, at the first of the keys that was given.</summary>
    public void Fail(string what, string remedy, params ReadOnlySpan<string> keys)
    {
        foreach (var key in keys)
        {
            if (Locate(key) is { } where)
            {
                Report(where, key, what, remedy);
                return;
            }
        }

        Report(new Where(null, "", document.FileName, document.Root.Line), keys[0], what, remedy);
    }

    /// <summary>Ends the reading: everything not read by now is unknown.</summary>
    /// <exception cref="ConfigurationException">Anything was wrong.</exception>
    public void ThrowIfInvalid()
    {
        RefuseUnknown(document.Root, "");
        foreach (var name in environment.Keys.Order(StringComparer.Ordinal))
        {
            if (name.StartsWith(environmentPrefix + "_", StringComparison.Ordinal) && name != environmentPrefix + "_CONFIG" && !_keyOfVariable.ContainsKey(name))
            {
                var nearest = Suggestion.For(name, _keyOfVariable.Keys.Order(StringComparer.Ordinal));
                _errors.Add((int.MaxValue, $"environment {DisplayText.Of(name)}: names no key – {(nearest is null ? "unset it" : $"did you mean {nearest}?")}"));
            }
        }

        if (_errors.Count > 0)
        {
            throw new ConfigurationException([.. _errors.OrderBy(error => error.Line).Select(error => error.Text)]);
        }
    }

    private void RefuseUnknown(YamlMapping mapping, string prefix)
    {
        foreach (var entry in mapping.Entries)
        {
            var key = prefix + entry.Key;
            if (!entry.Key.Contains('.') && _keys.Contains(key))
            {
                RefuseUnknownInSections(entry.Value, key);
                continue;
            }

            var where = new Where(entry.Value, "", document.FileName, entry.Line);
            if (!_keys.Any(known => known.StartsWith(key + ".", StringComparison.Ordinal)))
            {
                Report(where, DisplayText.Of(key), "is not a known key", Hint(entry.Key, prefix));
            }
            else if (entry.Value is YamlMapping section)
            {
                RefuseUnknown(section, key + ".");
            }
            else if (entry.Value is not YamlScalar { IsNull: true })
            {
                Report(where, key, $"is {entry.Value.Kind}", "it is a section: write its keys indented under it");
            }
        }
    }

    private void RefuseUnknownInSections(YamlValue value, string key)
    {
        var items = (value as YamlSequence)?.Items ?? [];
        for (var index = 0; index < items.Count; index++)
        {
            if (items[index] is YamlMapping section && _keys.Any(known => known.StartsWith($"{key}[{Number(index)}].", StringComparison.Ordinal)))
            {
                RefuseUnknown(section, $"{key}[{Number(index)}].");
            }
        }
    }

    private string Hint(string word, string prefix)
    {
        if (_keys.Contains(prefix + word.Trim()) || (word.Contains('.') && _keys.Contains(prefix + word)))
        {
            return "write each part of the key on a line of its own, indented under the one before";
        }

        var siblings = _keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).Select(key => key[prefix.Length..].Split('.')[0]).Distinct().Order(StringComparer.Ordinal).ToList();
        if (Suggestion.For(word, siblings) is { } nearest)
        {
            return $"did you mean \"{nearest}\"?";
        }

        var elsewhere = _keys.Order(StringComparer.Ordinal).FirstOrDefault(key => key.EndsWith("." + word, StringComparison.Ordinal));
        return elsewhere is not null ? $"did you mean \"{elsewhere}\"?" : $"remove it; known here: {string.Join(", ", siblings)}";
    }

    private bool Scalar(string key, Where where, out string text)
    {
        text = where.Text;
        switch (where.Node)
        {
            case null:
                return true;
            case YamlScalar { IsNull: true }:
                Report(where, key, "has no value", "give it one or remove the key");
                return false;
            case YamlScalar scalar:
                text = scalar.Text;
                return true;
            default:
                Report(where, key, $"is {where.Node.Kind}", "write a single value");
                return false;
        }
    }

    private bool Parse<T>(string key, Where where, string text, ValueParser<T> parse, out T value)
    {
        var complaint = parse(text, out value);
        if (complaint is null)
        {
            return true;
        }

        Report(where, key, $"{complaint.What} ({DisplayText.Of(text)})", complaint.Remedy);
        return false;
    }

    private Where? Source(string key)
    {
        _keys.Add(key);
        if (!_keyOfVariable.TryAdd(Variable(key), key) && _keyOfVariable[Variable(key)] != key)
        {
            throw new InvalidOperationException($"{key} and {_keyOfVariable[Variable(key)]} share the variable {Variable(key)}.");
        }

        return Locate(key);
    }

    private Where? Locate(string key)
    {
        if (environment.TryGetValue(Variable(key), out var text))
        {
            return new Where(null, text, $"environment {Variable(key)}", 0);
        }

        return Find(key) is { } entry ? new Where(entry.Value, "", document.FileName, entry.Line) : null;
    }

    private YamlEntry? Find(string key)
    {
        YamlEntry? entry = null;
        var mapping = document.Root;
        foreach (var segment in key.Split('.'))
        {
            var bracket = segment.IndexOf('[');
            entry = mapping?.Find(bracket < 0 ? segment : segment[..bracket]);
            mapping = (bracket < 0 ? entry?.Value : Item(entry, segment[(bracket + 1)..^1])) as YamlMapping;
        }

        return entry;
    }

    private static YamlValue? Item(YamlEntry? entry, string index) =>
        (entry?.Value as YamlSequence)?.Items.ElementAtOrDefault(int.Parse(index, NumberStyles.None, CultureInfo.InvariantCulture));

    private string Variable(string key) =>
        $"{environmentPrefix}_{key.Replace('.', '_').Replace('[', '_').Replace("]", "", StringComparison.Ordinal).ToUpperInvariant()}";

    private void Report(Where where, string key, string what, string remedy)
    {
        var place = where.Line == 0 ? where.Name : $"{where.Name}:{Number(where.Line)}";
        _errors.Add((where.Line == 0 ? int.MaxValue : where.Line, $"{place}: {key}: {what} – {remedy}"));
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);

    /// <summary>Where a value comes from: a node of the file, or text of a variable (line 0).</summary>
    private sealed record Where(YamlValue? Node, string Text, string Name, int Line);
}
