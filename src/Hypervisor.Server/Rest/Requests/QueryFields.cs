using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Microsoft.AspNetCore.WebUtilities;

namespace Hypervisor.Server.Rest.Requests;

/// <summary>Query parameters are fields: by name or dotted path, repeated ones once per value.</summary>
internal static class QueryFields
{
    public static void Apply(IMessage message, string query, HttpBinding binding, FieldViolations violations)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var count = 0;
        foreach (var pair in new QueryStringEnumerable(query))
        {
            var name = pair.DecodeName().ToString();
            var value = pair.DecodeValue().ToString();
            if (++count > binding.MostParameters)
            {
                violations.Add("", $"More than {binding.MostParameters} query parameters.");
                return;
            }

            if (binding.HasBody)
            {
                violations.Add(Printable.Quote(name), $"{binding.Verb} {binding.Path.Text} takes no query parameters; put it into the body.");
                continue;
            }

            if (FieldPath.Find(message.Descriptor, name) is not { IsMap: false } field || IsObject(field))
            {
                violations.Add(Printable.Quote(name), BodyDiagnosis.Unknown(message.Descriptor, name));
                continue;
            }

            if (!field.IsRepeated && !seen.Add(Canonical(message.Descriptor, name)))
            {
                violations.Add(Canonical(message.Descriptor, name), "is given twice.");
                continue;
            }

            Set(message, name, field, value, violations);
        }
    }

    private static bool IsObject(FieldDescriptor field) =>
        field.FieldType == FieldType.Message && !FieldPath.IsPlainInJson(field.MessageType);

    private static void Set(IMessage message, string name, FieldDescriptor field, string value, FieldViolations violations)
    {
        // Protobuf's JSON takes numbers and enums in quotes, and bool never.
        var json = field.FieldType == FieldType.Bool && value is "true" or "false" ? value : JsonSerializer.Serialize(value);
        if (field.IsRepeated)
        {
            json = $"[{json}]";
        }

        foreach (var part in name.Split('.').Reverse())
        {
            json = $"{{{JsonSerializer.Serialize(part)}:{json}}}";
        }

        try
        {
            message.MergeFrom(ProtoJson.Parser.Parse(json, message.Descriptor).ToByteString());
        }
        catch (Exception exception) when (BodyDiagnosis.IsRefusal(exception))
        {
            violations.Add(
                Canonical(message.Descriptor, name), $"is '{Printable.Quote(value)}'; write {BodyDiagnosis.Expected(field).Replace(", best as a string", "", StringComparison.Ordinal)}.");
        }
    }

    // As the violations of every other check are named.
    private static string Canonical(MessageDescriptor type, string name)
    {
        var names = new List<string>();
        foreach (var part in name.Split('.'))
        {
            var field = FieldPath.Field(type, part)!;
            names.Add(field.Name);
            type = field.FieldType == FieldType.Message ? field.MessageType : type;
        }

        return string.Join('.', names);
    }
}
