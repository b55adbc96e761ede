using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Hypervisor.Hosting.Yaml;

/// <summary>YAML 1.2 core schema to JSON.</summary>
internal static partial class YamlJson
{
    public static string Write(YamlDocument document)
    {
        List<string> errors = [];
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            Write(writer, document.Root, "", document.FileName, errors);
        }

        return errors.Count == 0 ? Encoding.UTF8.GetString(buffer.WrittenSpan) : throw new InvalidYamlException(errors);
    }

    private static void Write(Utf8JsonWriter writer, YamlValue value, string path, string fileName, List<string> errors)
    {
        switch (value)
        {
            case YamlMapping mapping:
                writer.WriteStartObject();
                foreach (var entry in mapping.Entries)
                {
                    writer.WritePropertyName(entry.Key);
                    Write(writer, entry.Value, path.Length == 0 ? entry.Key : $"{path}.{entry.Key}", fileName, errors);
                }

                writer.WriteEndObject();
                break;
            case YamlSequence sequence:
                writer.WriteStartArray();
                for (var index = 0; index < sequence.Items.Count; index++)
                {
                    Write(writer, sequence.Items[index], $"{path}.{index.ToString(CultureInfo.InvariantCulture)}", fileName, errors);
                }

                writer.WriteEndArray();
                break;
            case YamlScalar scalar:
                if (Scalar(writer, scalar) is { } complaint)
                {
                    writer.WriteNullValue();
                    errors.Add($"{fileName}:{scalar.Line.ToString(CultureInfo.InvariantCulture)}: {DisplayText.Of(path)}: {complaint}");
                }

                break;
        }
    }

    private static string? Scalar(Utf8JsonWriter writer, YamlScalar scalar)
    {
        var text = scalar.Text;
        if (!scalar.Plain)
        {
            writer.WriteStringValue(text);
        }
        else if (scalar.IsNull)
        {
            writer.WriteNullValue();
        }
        else if (text is "true" or "True" or "TRUE")
        {
            writer.WriteBooleanValue(true);
        }
        else if (text is "false" or "False" or "FALSE")
        {
            writer.WriteBooleanValue(false);
        }
        else if (AmbiguousNumber().IsMatch(text))
        {
            return $"is ambiguous ({DisplayText.Of(text)}): a number with leading zeros is octal to some readers of YAML – write it without, or quote it if it is text";
        }
        else if (NotFinite().IsMatch(text))
        {
            return $"is not a finite number ({text}) – quote it if it is text";
        }
        else if (JsonNumber().IsMatch(text))
        {
            writer.WriteRawValue(text.TrimStart('+'), skipInputValidation: false);
        }
        else if (OtherInteger().IsMatch(text))
        {
            return $"is not a decimal number ({DisplayText.Of(text)}) – write it in decimal, or quote it if it is text";
        }
        else
        {
            writer.WriteStringValue(text);
        }

        return null;
    }

    [GeneratedRegex(@"^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\z", RegexOptions.CultureInvariant)]
    private static partial Regex JsonNumber();

    [GeneratedRegex(@"^[-+]?0[0-9]+\z", RegexOptions.CultureInvariant)]
    private static partial Regex AmbiguousNumber();

    [GeneratedRegex(@"^0(o[0-7]+|x[0-9a-fA-F]+)\z", RegexOptions.CultureInvariant)]
    private static partial Regex OtherInteger();

    [GeneratedRegex(@"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\z", RegexOptions.CultureInvariant)]
    private static partial Regex NotFinite();
}
