namespace Hypervisor.Hosting.Yaml;

/// <summary>A node of a YAML document with the place where it begins, both counted from 1.</summary>
public abstract record YamlValue(int Line, int Column)
{
    /// <summary>For messages: "a value", "a list" or "a mapping".</summary>
    public abstract string Kind { get; }
}

/// <summary>A single value.</summary>
/// <param name="Plain">Written without quotes and not as a block: only then may it mean null, a boolean or a number.</param>
public sealed record YamlScalar(string Text, bool Plain, int Line, int Column) : YamlValue(Line, Column)
{
    public override string Kind => "a value";

    /// <summary>One of the spellings of "nothing" in YAML 1.2's core schema.</summary>
    public bool IsNull => Plain && Text is "" or "~" or "null" or "Null" or "NULL";
}

/// <summary>A list.</summary>
public sealed record YamlSequence(IReadOnlyList<YamlValue> Items, int Line, int Column) : YamlValue(Line, Column)
{
    public override string Kind => "a list";
}

/// <summary>Keys, each once, in the order written.</summary>
public sealed record YamlMapping(IReadOnlyList<YamlEntry> Entries, int Line, int Column) : YamlValue(Line, Column)
{
    public override string Kind => "a mapping";

    /// <summary>The entry with that key, or null.</summary>
    public YamlEntry? Find(string key) => Entries.FirstOrDefault(entry => entry.Key == key);
}

/// <summary>A key with its value; <paramref name="Line"/> is the key's.</summary>
public sealed record YamlEntry(string Key, YamlValue Value, int Line);
