using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hypervisor.Server.Images.Archives;

/// <summary>Media types of the OCI image specification 1.1 and of Docker's image manifest version 2, schema 2.</summary>
internal static class MediaTypes
{
    public const string Index = "application/vnd.oci.image.index.v1+json";
    public const string Manifest = "application/vnd.oci.image.manifest.v1+json";
    public const string Config = "application/vnd.oci.image.config.v1+json";
    public const string Layer = "application/vnd.oci.image.layer.v1.tar";
    public const string DockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
    public const string DockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
    public const string DockerConfig = "application/vnd.docker.container.image.v1+json";
    public const string DockerLayer = "application/vnd.docker.image.rootfs.diff.tar";

    public static string LayerOf(CompressionKind kind) => kind switch
    {
        CompressionKind.Gzip => Layer + "+gzip",
        CompressionKind.Zstd => Layer + "+zstd",
        _ => Layer,
    };

    /// <summary>The compression that a layer's media type promises; null for what is no layer.</summary>
    public static CompressionKind? CompressionOf(string mediaType) => mediaType switch
    {
        Layer or DockerLayer => CompressionKind.None,
        Layer + "+gzip" or DockerLayer + ".gzip" => CompressionKind.Gzip,
        Layer + "+zstd" or DockerLayer + ".zstd" => CompressionKind.Zstd,
        _ => null,
    };
}

internal sealed record OciDescriptor(
    string? MediaType, string? Digest, long Size, OciPlatform? Platform = null, IReadOnlyDictionary<string, string>? Annotations = null);

internal sealed record OciPlatform(string? Architecture, string? Os);

internal sealed record OciIndex(int SchemaVersion, string? MediaType, IReadOnlyList<OciDescriptor?>? Manifests);

internal sealed record OciManifest(
    int SchemaVersion, string? MediaType, OciDescriptor? Config, IReadOnlyList<OciDescriptor?>? Layers, string? ArtifactType = null);

internal sealed record OciLayout(string? ImageLayoutVersion);

internal sealed record OciConfig(string? Architecture, string? Os, OciProcess? Config, OciRootFs? Rootfs);

internal sealed record OciRootFs(string? Type, [property: JsonPropertyName("diff_ids")] IReadOnlyList<string?>? DiffIds);

/// <summary>The part of an image configuration that begins with capitals, for Docker's sake.</summary>
internal sealed record OciProcess(
    [property: JsonPropertyName("User")] string? User,
    [property: JsonPropertyName("Env")] IReadOnlyList<string?>? Env,
    [property: JsonPropertyName("Entrypoint")] IReadOnlyList<string?>? Entrypoint,
    [property: JsonPropertyName("Cmd")] IReadOnlyList<string?>? Cmd,
    [property: JsonPropertyName("WorkingDir")] string? WorkingDir,
    [property: JsonPropertyName("ExposedPorts")] IReadOnlyDictionary<string, JsonElement>? ExposedPorts,
    [property: JsonPropertyName("StopSignal")] string? StopSignal);

/// <summary>An entry of docker save's manifest.json.</summary>
internal sealed record DockerSaveImage(
    [property: JsonPropertyName("Config")] string? Config,
    [property: JsonPropertyName("RepoTags")] IReadOnlyList<string?>? RepoTags,
    [property: JsonPropertyName("Layers")] IReadOnlyList<string?>? Layers);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    AllowDuplicateProperties = false,
    MaxDepth = 32,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(OciIndex))]
[JsonSerializable(typeof(OciManifest))]
[JsonSerializable(typeof(OciLayout))]
[JsonSerializable(typeof(OciConfig))]
[JsonSerializable(typeof(IReadOnlyList<DockerSaveImage>))]
[JsonSerializable(typeof(Disks.DiskImageConfig))]
internal sealed partial class OciJson : JsonSerializerContext
{
    /// <summary>For writing: the default encoder spells '+' as an escape, and other tools' manifests of the same image do not.</summary>
    public static OciJson Plain { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });

    /// <exception cref="InvalidImageException">It is not such a document.</exception>
    public static T Parse<T>(ReadOnlySpan<byte> json, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, string what)
    {
        try
        {
            return JsonSerializer.Deserialize(json, type) ?? throw new InvalidImageException($"{what} is empty.");
        }
        catch (JsonException exception)
        {
            throw new InvalidImageException($"{what} cannot be read: not the JSON document it should be (line {exception.LineNumber + 1}).", exception);
        }
    }
}
