using System.Text.Json.Nodes;
using Google.Protobuf.Reflection;

namespace Hypervisor.Server.Rest.OpenApi;

/// <summary>Messages as JSON schemas: what protobuf's JSON mapping makes of each field.</summary>
internal static class OpenApiSchemas
{
    /// <summary>Name of the schema of errors; google.rpc.Status is no part of our own descriptors.</summary>
    public const string Error = "google.rpc.Status";

    public static JsonObject All(ApiDescription api)
    {
        var schemas = new JsonObject { [Error] = ErrorSchema() };
        foreach (var message in api.Messages())
        {
            schemas[message.FullName] = Message(message);
        }

        return schemas;
    }

    public static JsonObject Reference(string name) => new() { ["$ref"] = $"#/components/schemas/{name}" };

    /// <param name="described">References take no description beside them in OpenAPI 3.0; they are wrapped.</param>
    public static JsonObject Field(FieldDescriptor field, bool described = true)
    {
        var schema = field switch
        {
            { IsMap: true } => new() { ["type"] = "object", ["additionalProperties"] = Single(field.MessageType.FindFieldByNumber(2)) },
            { IsRepeated: true } => new() { ["type"] = "array", ["items"] = Single(field) },
            _ => Single(field),
        };
        var comment = described ? ApiDescription.Comment(field) : "";
        if (comment.Length == 0)
        {
            return schema;
        }

        if (schema.ContainsKey("$ref"))
        {
            schema = new() { ["allOf"] = new JsonArray(schema) };
        }

        schema["description"] = comment;
        return schema;
    }

    private static JsonObject Message(MessageDescriptor type)
    {
        var properties = new JsonObject();
        foreach (var field in type.Fields.InDeclarationOrder())
        {
            properties[field.JsonName] = Field(field);
        }

        var schema = new JsonObject { ["type"] = "object", ["properties"] = properties };
        var comment = ApiDescription.Comment(type);
        var oneofs = type.Oneofs.Where(oneof => !oneof.IsSynthetic)
            .Select(oneof => $"At most one of {string.Join(", ", oneof.Fields.Select(field => field.JsonName))} is set.");
        comment = string.Join("\n\n", new[] { comment }.Concat(oneofs).Where(text => text.Length > 0));
        if (comment.Length > 0)
        {
            schema["description"] = comment;
        }

        return schema;
    }

    private static JsonObject Single(FieldDescriptor field) => field.FieldType switch
    {
        FieldType.Message => field.MessageType.FullName switch
        {
            "google.protobuf.Timestamp" => Text("date-time"),
            "google.protobuf.Duration" => new() { ["type"] = "string", ["pattern"] = @"^-?[0-9]+(\.[0-9]{1,9})?s$", ["example"] = "1.5s" },
            "google.protobuf.FieldMask" => new() { ["type"] = "string", ["example"] = "metadata.labels,spec.resources" },
            var name => Reference(name),
        },
        FieldType.Enum => Enumeration(field.EnumType),
        FieldType.Int64 or FieldType.SInt64 or FieldType.SFixed64 => Text("int64"),
        FieldType.UInt64 or FieldType.Fixed64 => Text("uint64"),
        FieldType.Int32 or FieldType.SInt32 or FieldType.SFixed32 => new() { ["type"] = "integer", ["format"] = "int32" },
        FieldType.UInt32 or FieldType.Fixed32 => new() { ["type"] = "integer", ["format"] = "uint32" },
        FieldType.Double => new() { ["type"] = "number", ["format"] = "double" },
        FieldType.Float => new() { ["type"] = "number", ["format"] = "float" },
        FieldType.Bool => new() { ["type"] = "boolean" },
        FieldType.Bytes => Text("byte"),
        FieldType.String => new() { ["type"] = "string" },
        var other => throw new NotSupportedException($"{field.FullName} is {other}, which JSON has no form for."),
    };

    private static JsonObject Text(string format) => new() { ["type"] = "string", ["format"] = format };

    private static JsonObject Enumeration(EnumDescriptor type)
    {
        var schema = new JsonObject
        {
            ["type"] = "string",
            ["enum"] = new JsonArray([.. type.Values.Select(value => JsonValue.Create(value.Name))]),
        };
        var lines = type.Values
            .Select(value => (value.Name, Comment: ApiDescription.Comment(value)))
            .Where(value => value.Comment.Length > 0)
            .Select(value => $"{value.Name}: {value.Comment}");
        var text = string.Join("\n\n", lines.Prepend(ApiDescription.Comment(type)).Where(line => line.Length > 0));
        if (text.Length > 0)
        {
            schema["description"] = text;
        }

        return schema;
    }

    private static JsonObject ErrorSchema() => new()
    {
        ["type"] = "object",
        ["description"] = "What went wrong. The details name fields (google.rpc.BadRequest), objects (ResourceInfo), a reason for programs "
            + "(ErrorInfo) and when to try again (RetryInfo).",
        ["properties"] = new JsonObject
        {
            ["code"] = new JsonObject { ["type"] = "integer", ["format"] = "int32", ["description"] = "google.rpc.Code" },
            ["message"] = new JsonObject { ["type"] = "string", ["description"] = "A sentence for people." },
            ["details"] = new JsonObject
            {
                ["type"] = "array",
                ["items"] = new JsonObject
                {
                    ["type"] = "object",
                    ["properties"] = new JsonObject { ["@type"] = new JsonObject { ["type"] = "string" } },
                    ["additionalProperties"] = true,
                },
            },
        },
    };
}
