using System.Text.Json.Serialization;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>The formats of the files that tell of disks; readable by people, checked when read.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UseStringEnumConverter = true,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(RootFileSystemRecord))]
[JsonSerializable(typeof(DiskSet))]
[JsonSerializable(typeof(QuarantinedDisks))]
internal sealed partial class DisksJson : JsonSerializerContext;
