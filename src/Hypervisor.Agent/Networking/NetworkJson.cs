using System.Text.Json.Serialization;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Sysctls;

namespace Hypervisor.Agent.Networking;

/// <summary>The formats of the network's own files; readable by people, checked when read.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UseStringEnumConverter = true,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(AttachmentRecord))]
[JsonSerializable(typeof(SettingsJournal))]
internal sealed partial class NetworkJson : JsonSerializerContext;
