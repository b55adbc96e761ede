using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hypervisor.Agent.Images;

/// <summary>The parts of an image manifest (OCI or Docker schema 2) that are used.</summary>
internal sealed record ImageManifest(int SchemaVersion, string? MediaType, ImageDescriptor? Config, IReadOnlyList<ImageDescriptor>? Layers);

internal sealed record ImageDescriptor(string MediaType, string Digest, long Size);

/// <summary>The parts of an image configuration that are used.</summary>
internal sealed record ImageConfiguration(string? Architecture, string? Os, ImageRunConfiguration? Config, ImageRootFs? Rootfs);

internal sealed record ImageRunConfiguration(
    [property: JsonPropertyName("Entrypoint")] IReadOnlyList<string>? Entrypoint,
    [property: JsonPropertyName("Cmd")] IReadOnlyList<string>? Cmd,
    [property: JsonPropertyName("Env")] IReadOnlyList<string>? Env,
    [property: JsonPropertyName("User")] string? User,
    [property: JsonPropertyName("WorkingDir")] string? WorkingDir,
    [property: JsonPropertyName("StopSignal")] string? StopSignal,
    [property: JsonPropertyName("Labels")] IReadOnlyDictionary<string, string>? Labels);

internal sealed record ImageRootFs([property: JsonPropertyName("diff_ids")] IReadOnlyList<string>? DiffIds);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(ImageConfiguration))]
[JsonSerializable(typeof(Guests.Images.DiskImageConfiguration))]
internal sealed partial class OciJson : JsonSerializerContext;

/// <summary>What an image says about the process that is started in it.</summary>
internal sealed record ImageDefaults(
    IReadOnlyList<string> Entrypoint,
    IReadOnlyList<string> Command,
    IReadOnlyList<string> Environment,
    string User,
    string WorkingDirectory,
    string StopSignal)
{
    /// <summary>A label of images: "true" asks for warm starts of microVMs that do not say themselves.</summary>
    public const string WarmStartLabel = "hypervisor.zixiao/warm-start";

    public bool WarmStart { get; init; }
}

/// <summary>An image on this node, ready to be run.</summary>
/// <param name="Digest">Of the manifest.</param>
/// <param name="ChainId">Name of the committed snapshot of all layers.</param>
internal sealed record UnpackedImage(string Digest, string ChainId, ImageDefaults Defaults);

/// <summary>Manifest and configuration of an image, checked for consistency.</summary>
internal sealed record ImageDescription(ImageManifest Manifest, ImageConfiguration Configuration)
{
    /// <summary>Of each layer over those below it.</summary>
    public IReadOnlyList<string> Chain { get; } = ChainIds.Of(Configuration.Rootfs?.DiffIds ?? []);

    public ImageDefaults Defaults { get; } = new(
        Configuration.Config?.Entrypoint ?? [],
        Configuration.Config?.Cmd ?? [],
        Configuration.Config?.Env ?? [],
        Configuration.Config?.User ?? "",
        Configuration.Config?.WorkingDir ?? "",
        Configuration.Config?.StopSignal ?? "")
    {
        WarmStart = Configuration.Config?.Labels?.GetValueOrDefault(ImageDefaults.WarmStartLabel) == "true",
    };

    /// <exception cref="InvalidDataException">Not an image manifest; the message says why.</exception>
    public static ImageManifest ParseManifest(ReadOnlySpan<byte> json)
    {
        var manifest = Parse(json, OciJson.Default.ImageManifest, "manifest");
        if (manifest.SchemaVersion != 2 || manifest.Config is null || manifest.Layers is not { Count: > 0 } layers)
        {
            throw new InvalidDataException("the manifest is not one of an image (schema 2 with a configuration and layers)");
        }

        if (layers.Count > Drivers.Containerd.ContainerdLimits.Layers)
        {
            throw new InvalidDataException(
                $"the image has {layers.Count} layers; at most {Drivers.Containerd.ContainerdLimits.Layers} can be stacked");
        }

        foreach (var descriptor in layers.Append(manifest.Config))
        {
            if (!ChainIds.IsDigest(descriptor.Digest) || descriptor.Size < 0)
            {
                throw new InvalidDataException($"the manifest names a blob without a proper digest or size: \"{descriptor.Digest}\"");
            }
        }

        return manifest;
    }

    /// <exception cref="InvalidDataException">The configuration does not belong to the manifest; the message says why.</exception>
    public static ImageDescription ParseConfiguration(ImageManifest manifest, ReadOnlySpan<byte> json)
    {
        var configuration = Parse(json, OciJson.Default.ImageConfiguration, "configuration");
        var diffIds = configuration.Rootfs?.DiffIds ?? [];
        if (diffIds.Count != manifest.Layers!.Count)
        {
            throw new InvalidDataException($"the manifest has {manifest.Layers.Count} layers, the configuration {diffIds.Count}");
        }

        if (diffIds.FirstOrDefault(digest => !ChainIds.IsDigest(digest)) is { } bad)
        {
            throw new InvalidDataException($"the configuration names a layer without a proper digest: \"{bad}\"");
        }

        if (configuration.Os is { Length: > 0 } system && system != "linux")
        {
            throw new InvalidDataException($"the image is for {system}, not for linux");
        }

        return new ImageDescription(manifest, configuration);
    }

    private static T Parse<T>(ReadOnlySpan<byte> json, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, string what)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(json, type) ?? throw new InvalidDataException($"the {what} is empty");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"the {what} is not proper JSON: {error.Message}", error);
        }
    }
}
