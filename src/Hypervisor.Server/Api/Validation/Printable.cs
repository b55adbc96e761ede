using System.Globalization;
using System.Text;

namespace Hypervisor.Server.Api.Validation;

/// <summary>Shows a user's text in messages, which end up in logs and terminals: nothing in it can act there.</summary>
internal static class Printable
{
    private const int MaxShown = 80;

    public static string Quote(char character) => IsHarmful(character) ? Escape(character) : character.ToString();

    /// <summary>The text with control and formatting characters escaped, cut after 80 characters.</summary>
    public static string Quote(string text)
    {
        var shown = text.Length > MaxShown ? text.AsSpan(0, MaxShown) : text;
        var quoted = new StringBuilder(shown.Length);
        foreach (var character in shown)
        {
            quoted.Append(IsHarmful(character) ? Escape(character) : character);
        }

        return text.Length > MaxShown ? $"{quoted}… ({text.Length} characters)" : quoted.ToString();
    }

    // Bidirectional overrides are formatting characters; a lone surrogate cannot be encoded.
    public static bool IsHarmful(char character) =>
        char.IsControl(character) || char.IsSurrogate(character) || CharUnicodeInfo.GetUnicodeCategory(character) is UnicodeCategory.Format
            or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;

    private static string Escape(char character) => $"\\u{(int)character:x4}";
}
