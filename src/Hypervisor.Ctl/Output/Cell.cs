namespace Hypervisor.Ctl.Output;

/// <summary>How a cell is coloured on a terminal.</summary>
internal enum Tone
{
    Plain,
    Good,
    Busy,
    Bad,
}

/// <summary>One cell of a table: text (made harmless when written) and tone.</summary>
internal readonly record struct Cell(string Text, Tone Tone = Tone.Plain)
{
    public static implicit operator Cell(string? text) => new(string.IsNullOrEmpty(text) ? "-" : text);
}

/// <summary>How objects of a kind are shown: column titles and the cells of one object.</summary>
internal sealed record TableLayout<T>(string[] Titles, Func<T, Cell[]> Row);
