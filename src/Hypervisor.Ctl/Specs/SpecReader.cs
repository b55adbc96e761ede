using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Ctl.Specs;

/// <summary>
/// Turns a YAML value into protobuf JSON for one message type, checking every key and value against the contract, so that
/// each mistake is reported with its line. Takes names as in JSON or as in the .proto, short words for enums and amounts with
/// units for bytes.
/// </summary>
internal sealed class SpecReader(string fileName)
{
    private readonly List<string> _errors = [];

    /// <summary>Everything found wrong, each "file:line: path: what".</summary>
    public IReadOnlyList<string> Errors => _errors;

    public string ToJson(YamlMapping root, MessageDescriptor type)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            WriteMessage(writer, root, type, "");
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    private void WriteMessage(Utf8JsonWriter writer, YamlMapping mapping, MessageDescriptor type, string path)
    {
        writer.WriteStartObject();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in mapping.Entries)
        {
            var place = path.Length == 0 ? entry.Key : $"{path}.{entry.Key}";
            var field = type.Fields.InFieldNumberOrder().FirstOrDefault(f => f.JsonName == entry.Key || f.Name == entry.Key);
            if (field is null)
            {
                Error(entry.Line, place, $"is not a field; known here: {string.Join(", ", type.Fields.InFieldNumberOrder().Select(f => f.JsonName))}");
            }
            else if (!seen.Add(field.JsonName))
            {
                Error(entry.Line, place, $"is given twice, as {field.JsonName} and {field.Name}");
            }
            else if (entry.Value is not YamlScalar { IsNull: true })
            {
                writer.WritePropertyName(field.JsonName);
                WriteField(writer, entry.Value, field, place);
            }
        }

        writer.WriteEndObject();
    }

    private void WriteField(Utf8JsonWriter writer, YamlValue value, FieldDescriptor field, string path)
    {
        if (field.IsMap)
        {
            WriteMap(writer, value, field, path);
        }
        else if (field.IsRepeated)
        {
            writer.WriteStartArray();
            if (value is YamlSequence sequence)
            {
                for (var i = 0; i < sequence.Items.Count; i++)
                {
                    WriteSingle(writer, sequence.Items[i], field, $"{path}[{i.ToString(CultureInfo.InvariantCulture)}]");
                }
            }
            else
            {
                Error(value.Line, path, $"wants a list, not {value.Kind}");
            }

            writer.WriteEndArray();
        }
        else
        {
            WriteSingle(writer, value, field, path);
        }
    }

    private void WriteMap(Utf8JsonWriter writer, YamlValue value, FieldDescriptor field, string path)
    {
        writer.WriteStartObject();
        if (value is YamlMapping mapping)
        {
            foreach (var entry in mapping.Entries)
            {
                writer.WritePropertyName(entry.Key);
                WriteSingle(writer, entry.Value, field.MessageType.FindFieldByNumber(2), $"{path}.{entry.Key}");
            }
        }
        else
        {
            Error(value.Line, path, $"wants a mapping, not {value.Kind}");
        }

        writer.WriteEndObject();
    }

    private void WriteSingle(Utf8JsonWriter writer, YamlValue value, FieldDescriptor field, string path)
    {
        if (field.FieldType == FieldType.Message && field.MessageType.File.Package != "google.protobuf")
        {
            if (value is YamlMapping mapping)
            {
                WriteMessage(writer, mapping, field.MessageType, path);
                return;
            }

            Refuse(writer, value, path, $"wants a mapping, not {value.Kind}");
        }
        else if (value is not YamlScalar scalar)
        {
            Refuse(writer, value, path, $"wants a value, not {value.Kind}");
        }
        else
        {
            WriteScalar(writer, scalar, field, path);
        }
    }

    private void WriteScalar(Utf8JsonWriter writer, YamlScalar scalar, FieldDescriptor field, string path)
    {
        var text = scalar.Text;
        switch (field.FieldType)
        {
            case FieldType.String:
                writer.WriteStringValue(text);
                break;
            case FieldType.Bool when text is "true" or "false":
                writer.WriteBooleanValue(text == "true");
                break;
            case FieldType.Bool:
                Refuse(writer, scalar, path, $"'{text}' is neither true nor false");
                break;
            case FieldType.Enum when EnumWords.Find(field.EnumType, text) is { } name:
                writer.WriteStringValue(name);
                break;
            case FieldType.Enum:
                Refuse(writer, scalar, path, $"'{text}' is not one of {string.Join(", ", EnumWords.Words(field.EnumType))}");
                break;
            case FieldType.Int64 or FieldType.Int32:
                WriteInteger(writer, scalar, field, path);
                break;
            case FieldType.Message when field.MessageType == Duration.Descriptor:
                WriteDuration(writer, scalar, path);
                break;
            default:
                writer.WriteStringValue(text);
                break;
        }
    }

    private void WriteInteger(Utf8JsonWriter writer, YamlScalar scalar, FieldDescriptor field, string path)
    {
        var isRate = field.Name.EndsWith("_bytes_per_second", StringComparison.Ordinal);
        var isBytes = isRate || field.Name.EndsWith("_bytes", StringComparison.Ordinal);
        if (long.TryParse(scalar.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            || (isRate && Quantity.TryBytesPerSecond(scalar.Text, null, out number))
            || (isBytes && Quantity.TryBytes(scalar.Text, null, out number)))
        {
            if (field.FieldType == FieldType.Int64 || number is >= int.MinValue and <= int.MaxValue)
            {
                writer.WriteStringValue(number.ToString(CultureInfo.InvariantCulture));
                return;
            }
        }

        Refuse(writer, scalar, path, isBytes
            ? $"'{scalar.Text}' is no number of bytes; write for example 536870912 or 512MiB"
            : $"'{scalar.Text}' is no whole number in range");
    }

    private void WriteDuration(Utf8JsonWriter writer, YamlScalar scalar, string path)
    {
        if (scalar.Text.EndsWith('s')
            && decimal.TryParse(scalar.Text.AsSpan(0, scalar.Text.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && seconds <= 315_576_000_000m)
        {
            writer.WriteStringValue(seconds.ToString("0.#########", CultureInfo.InvariantCulture) + "s");
            return;
        }

        Refuse(writer, scalar, path, $"'{scalar.Text}' is no duration; write seconds, for example 10s");
    }

    private void Refuse(Utf8JsonWriter writer, YamlValue value, string path, string what)
    {
        writer.WriteNullValue();
        Error(value.Line, path, what);
    }

    private void Error(int line, string path, string what) =>
        _errors.Add($"{fileName}:{line.ToString(CultureInfo.InvariantCulture)}: {path}: {what}");
}
