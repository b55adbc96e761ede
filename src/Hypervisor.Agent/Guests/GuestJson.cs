using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;
using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>How records of guests are written. What an agent does not know, because a newer one wrote it, it passes over.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    IgnoreReadOnlyProperties = true,
    Converters = [typeof(AssignmentConverter), typeof(SnapshotConverter), typeof(EpochConverter), typeof(AddressConverter)])]
[JsonSerializable(typeof(GuestRecord))]
internal sealed partial class GuestJson : JsonSerializerContext;

/// <summary>As bytes: an agent that does not know a field keeps it.</summary>
internal sealed class AssignmentConverter : JsonConverter<Assignment>
{
    public override Assignment Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        try
        {
            return Assignment.Parser.ParseFrom(reader.GetBytesFromBase64());
        }
        catch (InvalidProtocolBufferException error)
        {
            throw new JsonException(error.Message, error);
        }
    }

    public override void Write(Utf8JsonWriter writer, Assignment value, JsonSerializerOptions options) => writer.WriteBase64StringValue(value.ToByteArray());
}

internal sealed class SnapshotConverter : JsonConverter<SnapshotSpec>
{
    public override SnapshotSpec Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        try
        {
            return SnapshotSpec.Parser.ParseFrom(reader.GetBytesFromBase64());
        }
        catch (InvalidProtocolBufferException error)
        {
            throw new JsonException(error.Message, error);
        }
    }

    public override void Write(Utf8JsonWriter writer, SnapshotSpec value, JsonSerializerOptions options) => writer.WriteBase64StringValue(value.ToByteArray());
}

internal sealed class EpochConverter : JsonConverter<Epoch>
{
    public override Epoch Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => new(reader.GetInt64());

    public override void Write(Utf8JsonWriter writer, Epoch value, JsonSerializerOptions options) => writer.WriteNumberValue(value.Value);
}

internal sealed class AddressConverter : JsonConverter<IPAddress>
{
    public override IPAddress Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        IPAddress.TryParse(reader.GetString(), out var address) ? address : throw new JsonException("not an address");

    public override void Write(Utf8JsonWriter writer, IPAddress value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}
