using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Hypervisor.Ctl.Output;

/// <summary>Writes a JSON document as block-style YAML 1.2 with the same keys, order and values.</summary>
internal static class YamlText
{
    public static string FromJson(string json)
    {
        using var document = JsonDocument.Parse(json);
        var text = new StringBuilder();
        if (IsScalar(document.RootElement))
        {
            text.Append(Scalar(document.RootElement)).Append('\n');
        }
        else
        {
            WriteBlock(text, document.RootElement, 0);
        }

        return text.ToString();
    }

    private static void WriteBlock(StringBuilder text, JsonElement element, int indent)
    {
        var first = true;
        if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (var property in element.EnumerateObject())
            {
                Indent(text, indent, ref first);
                text.Append(Quote(property.Name)).Append(':');
                WriteValue(text, property.Value, indent, inSequence: false);
            }
        }
        else
        {
            foreach (var item in element.EnumerateArray())
            {
                Indent(text, indent, ref first);
                text.Append('-');
                WriteValue(text, item, indent, inSequence: true);
            }
        }
    }

    private static void WriteValue(StringBuilder text, JsonElement value, int indent, bool inSequence)
    {
        if (IsScalar(value))
        {
            text.Append(' ').Append(Scalar(value)).Append('\n');
            return;
        }

        if (inSequence)
        {
            // "- key: value": the first line of the block follows the dash, the others align with it.
            text.Append(' ');
            var block = new StringBuilder();
            WriteBlock(block, value, indent + 1);
            text.Append(block, (indent + 1) * 2, block.Length - ((indent + 1) * 2));
            return;
        }

        text.Append('\n');
        WriteBlock(text, value, indent + 1);
    }

    private static void Indent(StringBuilder text, int indent, ref bool first)
    {
        first = false;
        text.Append(' ', indent * 2);
    }

    private static bool IsScalar(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => !element.EnumerateObject().Any(),
        JsonValueKind.Array => element.GetArrayLength() == 0,
        _ => true,
    };

    private static string Scalar(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => "{}",
        JsonValueKind.Array => "[]",
        JsonValueKind.String => Quote(element.GetString()!),
        _ => element.GetRawText(),
    };

    private static string Quote(string value) => IsPlain(value) ? value : DoubleQuoted(value);

    // Plain only what no YAML reader, 1.1 or 1.2, can take for anything but a string.
    private static bool IsPlain(string value)
    {
        if (value.Length == 0 || !(char.IsAsciiLetter(value[0]) || value[0] is '/' or '_') || value[^1] is ' ' or ':')
        {
            return false;
        }

        for (var i = 0; i < value.Length; i++)
        {
            var c = value[i];
            var harmless = char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '/' or '+' or '(' or ')' or '@' or '='
                || (c == ' ' && value[i - 1] != ' ')
                || (c is ':' && i + 1 < value.Length && value[i + 1] != ' ');
            if (!harmless)
            {
                return false;
            }
        }

        return value.ToUpperInvariant() is not ("TRUE" or "FALSE" or "YES" or "NO" or "ON" or "OFF" or "Y" or "N" or "NULL");
    }

    private static string DoubleQuoted(string value)
    {
        var text = new StringBuilder("\"");
        for (var i = 0; i < value.Length; i++)
        {
            var c = value[i];
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\t' => text.Append("\\t"),
                _ when TerminalText.IsDangerous(value, i) => text.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture)),
                _ => text.Append(c),
            };
        }

        return text.Append('"').ToString();
    }
}
