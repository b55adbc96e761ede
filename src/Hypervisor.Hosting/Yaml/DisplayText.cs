using System.Globalization;
using System.Text;

namespace Hypervisor.Hosting.Yaml;

/// <summary>Text from outside, made fit for a message: no control characters reach a terminal or a log, and no page of it.</summary>
public static class DisplayText
{
    private const int MaxLength = 120;

    /// <summary>The text with control, format and lone surrogate characters as \u escapes, cut after 120 characters.</summary>
    public static string Of(string text)
    {
        var shown = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
        {
            if (shown.Length >= MaxLength)
            {
                shown.Append('…');
                break;
            }

            var category = Rune.GetUnicodeCategory(rune);
            if (category is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
                or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned)
            {
                shown.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}");
            }
            else
            {
                shown.Append(rune.ToString());
            }
        }

        return shown.ToString();
    }
}
