namespace Hypervisor.Server.Api.Lists;

/// <summary>A conjunction of conditions on labels: <c>a=b,c!=d,e in (f,g),h notin (i),j,!k</c>. The empty one matches everything.</summary>
internal sealed class LabelSelector
{
    private readonly IReadOnlyList<LabelRequirement> _requirements;

    internal LabelSelector(IReadOnlyList<LabelRequirement> requirements) => _requirements = requirements;

    public static LabelSelector Everything { get; } = new([]);

    public IReadOnlyList<LabelRequirement> Requirements => _requirements;

    /// <exception cref="LabelSelectorException">Says where and what was expected.</exception>
    public static LabelSelector Parse(string text) => string.IsNullOrWhiteSpace(text) ? Everything : new LabelSelectorParser(text).Parse();

    public bool Matches(IReadOnlyDictionary<string, string> labels)
    {
        foreach (var requirement in _requirements)
        {
            if (!requirement.Matches(labels.TryGetValue(requirement.Key, out var value) ? value : null))
            {
                return false;
            }
        }

        return true;
    }
}

/// <summary>How a requirement judges a label.</summary>
internal enum LabelOperator
{
    /// <summary>Has the label with one of the values.</summary>
    In,

    /// <summary>Has the label with none of the values, or has it not.</summary>
    NotIn,
    Exists,
    Absent,
}

/// <summary>One condition of a selector.</summary>
internal sealed record LabelRequirement(string Key, LabelOperator Operator, IReadOnlyList<string> Values)
{
    /// <param name="value">Of the label; null when the object has it not.</param>
    public bool Matches(string? value) => Operator switch
    {
        LabelOperator.In => value is not null && Values.Contains(value),
        LabelOperator.NotIn => value is null || !Values.Contains(value),
        LabelOperator.Exists => value is not null,
        _ => value is null,
    };
}

/// <summary>A selector that cannot be read.</summary>
/// <param name="position">Counted from 1, in characters.</param>
internal sealed class LabelSelectorException(int position, string expected, string found)
    : Exception($"at character {position}: expected {expected}, found {found}")
{
    public int Position { get; } = position;
}
