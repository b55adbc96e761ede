using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Rest.Requests;

/// <summary>
/// Says where a body is wrong. Protobuf's parser judges and names no path; this looks only at what it refused, leaf by leaf with
/// the same parser, so that both always agree.
/// </summary>
internal static class BodyDiagnosis
{
    public static bool IsRefusal(Exception exception) =>
        exception is InvalidProtocolBufferException or InvalidJsonException or FormatException or OverflowException or ArgumentException;

    public static void Find(JsonElement body, MessageDescriptor type, FieldViolations violations) => Message(body, type, "", violations);

    /// <summary>A field that the message has not, with the one that was probably meant.</summary>
    public static string Unknown(MessageDescriptor type, string name) =>
        Suggestion.For(name, type.Fields.InDeclarationOrder().SelectMany(field => new[] { field.Name, field.JsonName })) is { } near
            ? $"is not known; did you mean '{near}'?"
            : $"is not known; {type.Name} has {string.Join(", ", type.Fields.InDeclarationOrder().Select(field => field.JsonName))}.";

    private static void Message(JsonElement element, MessageDescriptor type, string path, FieldViolations violations)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            violations.Add(path, $"is {Shown(element)}; write a JSON object.");
            return;
        }

        foreach (var property in element.EnumerateObject())
        {
            if (FieldPath.Field(type, property.Name) is not { } field)
            {
                violations.Add(Join(path, Printable.Quote(property.Name)), Unknown(type, property.Name));
            }
            else if (property.Value.ValueKind != JsonValueKind.Null)
            {
                Field(property.Value, field, Join(path, field.Name), violations);
            }
        }
    }

    private static void Field(JsonElement element, FieldDescriptor field, string path, FieldViolations violations)
    {
        if (field.IsMap)
        {
            if (element.ValueKind != JsonValueKind.Object)
            {
                violations.Add(path, $"is {Shown(element)}; write a JSON object of names and values.");
                return;
            }

            foreach (var entry in element.EnumerateObject())
            {
                Leaf(entry.Value, field, $"{path}[{Printable.Quote(entry.Name)}]", raw => $"{{{JsonSerializer.Serialize(entry.Name)}:{raw}}}", violations);
            }
        }
        else if (field.IsRepeated)
        {
            if (element.ValueKind != JsonValueKind.Array)
            {
                violations.Add(path, $"is {Shown(element)}; write a JSON array.");
                return;
            }

            foreach (var (item, index) in element.EnumerateArray().Select((item, index) => (item, index)))
            {
                Single(item, field, $"{path}[{index}]", raw => $"[{raw}]", violations);
            }
        }
        else
        {
            Single(element, field, path, raw => raw, violations);
        }
    }

    private static void Single(JsonElement element, FieldDescriptor field, string path, Func<string, string> wrap, FieldViolations violations)
    {
        if (field.FieldType == FieldType.Message && !FieldPath.IsPlainInJson(field.MessageType))
        {
            Message(element, field.MessageType, path, violations);
        }
        else
        {
            Leaf(element, field, path, wrap, violations);
        }
    }

    private static void Leaf(JsonElement element, FieldDescriptor field, string path, Func<string, string> wrap, FieldViolations violations)
    {
        try
        {
            ProtoJson.Parser.Parse($"{{\"{field.JsonName}\":{wrap(element.GetRawText())}}}", field.ContainingType);
        }
        catch (Exception exception) when (IsRefusal(exception))
        {
            violations.Add(path, $"is {Shown(element)}; write {Expected(field)}.");
        }
    }

    /// <summary>What a field takes, for people.</summary>
    public static string Expected(FieldDescriptor field) => (field.IsMap ? field.MessageType.FindFieldByNumber(2) : field) switch
    {
        { FieldType: FieldType.Enum } value => $"one of {string.Join(", ", value.EnumType.Values.Select(option => option.Name))}",
        { FieldType: FieldType.Int64 or FieldType.SInt64 or FieldType.SFixed64 } => "a whole number of 64 bits, best as a string",
        { FieldType: FieldType.UInt64 or FieldType.Fixed64 } => "a whole number of 64 bits from 0 on, best as a string",
        { FieldType: FieldType.Int32 or FieldType.SInt32 or FieldType.SFixed32 } => "a whole number of 32 bits",
        { FieldType: FieldType.UInt32 or FieldType.Fixed32 } => "a whole number of 32 bits from 0 on",
        { FieldType: FieldType.Double or FieldType.Float } => "a number",
        { FieldType: FieldType.Bool } => "true or false",
        { FieldType: FieldType.Bytes } => "base 64",
        { FieldType: FieldType.String } => "a string",
        { MessageType.Name: "Timestamp" } => "a time such as \"2030-01-31T12:00:00Z\"",
        { MessageType.Name: "Duration" } => "a duration such as \"1.5s\"",
        { MessageType.Name: "FieldMask" } => "field paths such as \"metadata.labels,spec.resources\"",
        var value => value.FieldType.ToString(),
    };

    private static string Join(string path, string name) => path.Length == 0 ? name : $"{path}.{name}";

    private static string Shown(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "an array",
        JsonValueKind.Null => "null",
        JsonValueKind.String => $"'{Printable.Quote(element.GetString()!)}'",
        _ => Printable.Quote(element.GetRawText()),
    };
}
