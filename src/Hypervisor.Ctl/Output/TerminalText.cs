using System.Globalization;
using System.Text;

namespace Hypervisor.Ctl.Output;

/// <summary>
/// Text from elsewhere must not drive the user's terminal: escape sequences can retitle, rewrite and answer for the user, and
/// bidirectional overrides can make a line read as another (CVE-2021-42574).
/// </summary>
internal static class TerminalText
{
    /// <summary>The text with every control or invisible formatting character written as \xNN or \u{NNNN}.</summary>
    public static string Clean(string text)
    {
        var first = 0;
        while (first < text.Length && !IsDangerous(text, first))
        {
            first++;
        }

        if (first == text.Length)
        {
            return text;
        }

        var clean = new StringBuilder(text.Length + 16).Append(text, 0, first);
        for (var i = first; i < text.Length; i++)
        {
            if (!IsDangerous(text, i))
            {
                clean.Append(text[i]);
            }
            else if (text[i] < 0x100)
            {
                clean.Append("\\x").Append(((int)text[i]).ToString("X2", CultureInfo.InvariantCulture));
            }
            else
            {
                clean.Append("\\u{").Append(((int)text[i]).ToString("X4", CultureInfo.InvariantCulture)).Append('}');
            }
        }

        return clean.ToString();
    }

    /// <summary>As <see cref="Clean"/>, for streams of lines: line feed, carriage return before it and tabulator stay.</summary>
    public static string CleanLines(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\0', '\x1F') && Clean(text) is var same && ReferenceEquals(same, text))
        {
            return text;
        }

        var lines = text.Split('\n');
        for (var i = 0; i < lines.Length; i++)
        {
            var line = lines[i].EndsWith('\r') && i < lines.Length - 1 ? lines[i][..^1] : lines[i];
            lines[i] = string.Join('\t', line.Split('\t').Select(Clean));
        }

        return string.Join('\n', lines);
    }

    internal static bool IsDangerous(string text, int index)
    {
        var c = text[index];
        if (c is >= ' ' and < '\x7F')
        {
            return false;
        }

        if (char.IsHighSurrogate(c))
        {
            return index + 1 == text.Length || !char.IsLowSurrogate(text[index + 1]);
        }

        if (char.IsLowSurrogate(c))
        {
            return index == 0 || !char.IsHighSurrogate(text[index - 1]);
        }

        return char.IsControl(c)
            || c is '\u2028' or '\u2029'
            || (char.GetUnicodeCategory(c) == UnicodeCategory.Format && c is not '\u200D');
    }
}
