using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Hypervisor.Server.Rest;

/// <summary>Fields of messages by dotted paths, in the names of the .proto file or of JSON.</summary>
internal static class FieldPath
{
    /// <returns>Null when there is none.</returns>
    public static FieldDescriptor? Find(MessageDescriptor type, string path)
    {
        FieldDescriptor? field = null;
        foreach (var name in path.Split('.'))
        {
            if (field is not null && (field.FieldType != FieldType.Message || field.IsRepeated || IsPlainInJson(field.MessageType)))
            {
                return null;
            }

            field = Field(field?.MessageType ?? type, name);
            if (field is null)
            {
                return null;
            }
        }

        return field;
    }

    /// <summary>By either name.</summary>
    public static FieldDescriptor? Field(MessageDescriptor type, string name)
    {
        foreach (var field in type.Fields.InFieldNumberOrder())
        {
            if (field.Name == name || field.JsonName == name)
            {
                return field;
            }
        }

        return null;
    }

    /// <summary>The text at the path; empty when anything on the way is absent.</summary>
    public static string Text(IMessage message, string path)
    {
        var names = path.Split('.');
        foreach (var name in names[..^1])
        {
            if (Field(message.Descriptor, name)!.Accessor.GetValue(message) is not IMessage inner)
            {
                return "";
            }

            message = inner;
        }

        return (string)Field(message.Descriptor, names[^1])!.Accessor.GetValue(message);
    }

    /// <summary>Sets the text at the path, making what is absent on the way.</summary>
    public static void SetText(IMessage message, string path, string value)
    {
        var names = path.Split('.');
        foreach (var name in names[..^1])
        {
            var field = Field(message.Descriptor, name)!;
            if (field.Accessor.GetValue(message) is not IMessage inner)
            {
                inner = field.MessageType.Parser.ParseFrom(ByteString.Empty);
                field.Accessor.SetValue(message, inner);
            }

            message = inner;
        }

        Field(message.Descriptor, names[^1])!.Accessor.SetValue(message, value);
    }

    /// <summary>Messages that JSON writes as one string or number, or without a fixed form.</summary>
    public static bool IsPlainInJson(MessageDescriptor type) => type.File.Package == "google.protobuf";
}
