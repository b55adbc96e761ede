using System.Text.Json;
using Hypervisor.Agent.Images;

namespace Hypervisor.Agent.Guests.Images;

/// <summary>A disk image or kernel set on this node, verified.</summary>
/// <param name="Digest">Of the manifest.</param>
/// <param name="Path">The disk; of a kernel set, its root file system (raw).</param>
/// <param name="Format">As the control plane verified it; never found out from the file.</param>
/// <param name="VirtualSizeBytes">What a guest sees.</param>
/// <param name="DefaultUser">Whom people log in as; empty when nobody said.</param>
internal sealed record DiskImage(string Digest, string Path, DiskFormat Format, long VirtualSizeBytes, string OperatingSystem, string DefaultUser)
{
    /// <summary>Paths of what boots a kernel set; null for a disk that boots itself.</summary>
    public (string Kernel, string Initramfs)? Kernel { get; init; }
}

/// <summary>The configuration of a disk image, as the server writes it.</summary>
internal sealed record DiskImageConfiguration(string? Format, string? Architecture, string? Os, string? DefaultUser, long VirtualSizeBytes);

/// <summary>Manifest and configuration of a disk image, checked for consistency.</summary>
internal static class DiskImageDocuments
{
    private const string ConfigType = "application/vnd.hypervisor.disk-image.config.v1+json";
    private const string Qcow2Type = "application/vnd.hypervisor.disk.v1.qcow2";
    private const string RawType = "application/vnd.hypervisor.disk.v1.raw";
    private const string KernelType = "application/vnd.hypervisor.kernel.v1";
    private const string InitramfsType = "application/vnd.hypervisor.initramfs.v1";

    /// <exception cref="InvalidDataException">It is not one of a disk image; the message says why.</exception>
    public static ImageManifest ParseManifest(ReadOnlySpan<byte> json)
    {
        var manifest = ImageDescription.ParseManifest(json);
        string[] types = [.. manifest.Layers!.Select(layer => layer.MediaType)];
        return manifest.Config!.MediaType == ConfigType && (types is [Qcow2Type] or [RawType] or [KernelType, InitramfsType, RawType])
            ? manifest
            : throw new InvalidDataException("the manifest is not one of a disk image (a qcow2, a raw disk, or kernel, initramfs and root file system)");
    }

    /// <param name="pathOf">Where a blob lies.</param>
    /// <exception cref="InvalidDataException"/>
    public static DiskImage Describe(string digest, ImageManifest manifest, ReadOnlySpan<byte> configuration, Func<string, string> pathOf)
    {
        DiskImageConfiguration? parsed;
        try
        {
            parsed = JsonSerializer.Deserialize(configuration, OciJson.Default.DiskImageConfiguration);
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"the configuration is not proper JSON: {error.Message}", error);
        }

        var disk = manifest.Layers![^1];
        var format = disk.MediaType == Qcow2Type ? DiskFormat.Qcow2 : DiskFormat.Raw;
        if (parsed is not { VirtualSizeBytes: > 0 } || (format == DiskFormat.Raw && parsed.VirtualSizeBytes != disk.Size))
        {
            throw new InvalidDataException("the configuration names no size of the disk, or another than it has");
        }

        return new DiskImage(digest, pathOf(disk.Digest), format, parsed.VirtualSizeBytes, parsed.Os ?? "", parsed.DefaultUser ?? "")
        {
            Kernel = manifest.Layers.Count == 3 ? (pathOf(manifest.Layers[0].Digest), pathOf(manifest.Layers[1].Digest)) : null,
        };
    }
}
