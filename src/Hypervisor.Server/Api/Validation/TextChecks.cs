using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Validation;

/// <summary>What any text of a request must satisfy before it may reach a runtime, a log or a terminal.</summary>
internal static class TextChecks
{
    /// <summary>One line: no control or formatting characters at all.</summary>
    public static bool Line(string text, int maxLength, string field, FieldViolations violations)
    {
        if (text.Length > maxLength)
        {
            violations.Add(field, $"has {text.Length} characters; at most {maxLength} are allowed.");
            return false;
        }

        if (text.Any(Printable.IsHarmful) && !OnlyWholeSurrogates(text))
        {
            violations.Add(field, $"'{Printable.Quote(text)}' contains a control or formatting character.");
            return false;
        }

        return true;
    }

    /// <summary>Arguments and values: line breaks and tabs are data there (scripts, certificates), other control characters are not.</summary>
    public static bool Block(string text, int maxLength, string field, FieldViolations violations)
    {
        if (text.Length > maxLength)
        {
            violations.Add(field, $"has {text.Length} characters; at most {maxLength} are allowed.");
            return false;
        }

        if (text.Any(character => char.IsControl(character) && character is not ('\n' or '\r' or '\t')))
        {
            violations.Add(field, $"'{Printable.Quote(text)}' contains a control character; only line breaks and tabs are allowed.");
            return false;
        }

        return true;
    }

    public static void Count(int count, int maximum, string field, FieldViolations violations)
    {
        if (count > maximum)
        {
            violations.Add(field, $"has {count} entries; at most {maximum} are allowed.");
        }
    }

    public static void Range(long value, long minimum, long maximum, string unit, string field, FieldViolations violations)
    {
        if (value < minimum || value > maximum)
        {
            violations.Add(field, $"{value} is outside {minimum} to {maximum}{(unit.Length == 0 ? "" : " " + unit)}.");
        }
    }

    public static void Known<TEnum>(TEnum value, string field, FieldViolations violations)
        where TEnum : struct, Enum
    {
        if (!Enum.IsDefined(value))
        {
            violations.Add(field, $"{Convert.ToInt32(value, System.Globalization.CultureInfo.InvariantCulture)} is not a known value.");
        }
    }

    public static void OutputOnly(bool isSet, string field, FieldViolations violations)
    {
        if (isSet)
        {
            violations.Add(field, "is set by the server; leave it out.");
        }
    }

    /// <summary>Refuses what an instance type cannot honour.</summary>
    public static void Unsupported(bool isSet, string typeName, string field, FieldViolations violations)
    {
        if (isSet)
        {
            violations.Add(field, $"cannot be honoured for instances of type {typeName}; leave it out.");
        }
    }

    // A pair of surrogates is an ordinary character beyond the first plane.
    private static bool OnlyWholeSurrogates(string text) =>
        text.EnumerateRunes().All(rune => rune != System.Text.Rune.ReplacementChar
            && (!rune.IsBmp || !Printable.IsHarmful((char)rune.Value)));
}
