using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Rest.Requests;

/// <summary>Makes a method's request out of path, query and body, and refuses everything that none of its fields takes.</summary>
internal static class RequestReader
{
    private static readonly JsonDocumentOptions Strict = new() { MaxDepth = Limits.Rest.JsonDepth, AllowDuplicateProperties = false };

    /// <param name="query">With its '?', or empty.</param>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT, with the path of every field that is wrong.</exception>
    public static IMessage Read(RestMatch match, string query, ReadOnlyMemory<byte> body) =>
        Read(match.Method.Descriptor.InputType, match.Method.Binding, match.PathValues, query, body);

    /// <inheritdoc cref="Read(RestMatch, string, ReadOnlyMemory{byte})"/>
    public static IMessage Read(
        MessageDescriptor type, HttpBinding binding, IReadOnlyList<(string Field, string Value)> pathValues, string query, ReadOnlyMemory<byte> body)
    {
        var violations = new FieldViolations();
        var message = binding.HasBody
            ? Body(type, body, violations)
            : type.Parser.ParseFrom(ByteString.Empty);
        if (!binding.HasBody && body.Length > 0)
        {
            violations.Add("body", $"{binding.Verb} {binding.Path.Text} takes none; its fields are query parameters.");
        }

        violations.ThrowIfAny();
        QueryFields.Apply(message, query, binding, violations);
        foreach (var (field, value) in pathValues)
        {
            var given = FieldPath.Text(message, field);
            if (given.Length > 0 && given != value)
            {
                violations.Add(field, $"is '{Printable.Quote(given)}' in the body and '{Printable.Quote(value)}' in the path; leave it out of the body.");
            }
            else
            {
                FieldPath.SetText(message, field, value);
            }
        }

        violations.ThrowIfAny();
        return message;
    }

    private static IMessage Body(MessageDescriptor type, ReadOnlyMemory<byte> body, FieldViolations violations)
    {
        if (body.Length == 0)
        {
            return type.Parser.ParseFrom(ByteString.Empty);
        }

        try
        {
            // Protobuf's parser takes the last of two equal names and says nowhere what it did not know: this one is strict.
            using var document = JsonDocument.Parse(body, Strict);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                violations.Add("body", $"is {Word(document.RootElement)}; write one JSON object.");
                return type.Parser.ParseFrom(ByteString.Empty);
            }

            try
            {
                return ProtoJson.Parser.Parse(document.RootElement.GetRawText(), type);
            }
            catch (Exception exception) when (BodyDiagnosis.IsRefusal(exception))
            {
                BodyDiagnosis.Find(document.RootElement, type, violations);
                if (!violations.Any)
                {
                    violations.Add("body", exception.Message);
                }
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: text that is not UTF-8, or half of a surrogate pair.
            violations.Add("body", $"is not JSON: {exception.Message}");
        }

        return type.Parser.ParseFrom(ByteString.Empty);
    }

    private static string Word(JsonElement element) => element.ValueKind.ToString().ToLowerInvariant();
}
