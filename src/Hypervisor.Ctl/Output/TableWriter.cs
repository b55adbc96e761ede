using System.Globalization;
using System.Text;

namespace Hypervisor.Ctl.Output;

/// <summary>
/// Aligned columns, three spaces apart, no trailing spaces. Widths are those of the first rows; rows appended later (a watch)
/// keep them where they fit. Lines are cut to the terminal's width on terminals only.
/// </summary>
internal sealed class TableWriter(TextWriter output, string[] titles, bool colour, int? terminalWidth)
{
    private const int Gap = 3;
    private readonly int[] _widths = titles.Select(title => title.Length).ToArray();

    public void Write(IReadOnlyList<Cell[]> rows)
    {
        foreach (var row in rows)
        {
            for (var i = 0; i < row.Length; i++)
            {
                _widths[i] = Math.Max(_widths[i], WidthOf(TerminalText.Clean(row[i].Text)));
            }
        }

        WriteLine(titles.Select(title => new Cell(title)).ToArray());
        foreach (var row in rows)
        {
            WriteLine(row);
        }
    }

    public void Append(Cell[] row) => WriteLine(row);

    private void WriteLine(Cell[] row)
    {
        var line = new StringBuilder();
        var room = terminalWidth ?? int.MaxValue;
        var pending = 0;
        for (var i = 0; i < row.Length && room > pending; i++)
        {
            var text = TerminalText.Clean(row[i].Text);
            var width = WidthOf(text);
            if (width > 0)
            {
                line.Append(' ', pending);
                room -= pending;
                pending = 0;
                if (width > room)
                {
                    text = string.Concat(Cut(text, room - 1), "…");
                    width = room;
                }

                Append(line, text, row[i].Tone);
                room -= width;
            }

            pending += Math.Max(_widths[i] - width, 0) + Gap;
        }

        output.WriteLine(line);
    }

    private void Append(StringBuilder line, string text, Tone tone)
    {
        var code = colour ? tone switch { Tone.Good => "32", Tone.Busy => "33", Tone.Bad => "31", _ => null } : null;
        if (code is null)
        {
            line.Append(text);
        }
        else
        {
            line.Append("\e[").Append(code).Append('m').Append(text).Append("\e[0m");
        }
    }

    // Counts characters as people see them (grapheme clusters), which is right for all but East Asian wide ones.
    private static int WidthOf(string text)
    {
        foreach (var c in text)
        {
            if (c > '\x7E')
            {
                return new StringInfo(text).LengthInTextElements;
            }
        }

        return text.Length;
    }

    private static string Cut(string text, int width) =>
        WidthOf(text) == text.Length ? text[..width] : new StringInfo(text).SubstringByTextElements(0, width);
}
