using System.Text.Json;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Images.Archives;

namespace Hypervisor.Server.Images.Disks;

/// <summary>Media types of what is no OCI image, stored as one: an OCI artifact (image specification 1.1) of a configuration and files.</summary>
internal static class DiskMediaTypes
{
    public const string Artifact = "application/vnd.hypervisor.disk-image.v1";
    public const string Config = "application/vnd.hypervisor.disk-image.config.v1+json";
    public const string Qcow2 = "application/vnd.hypervisor.disk.v1.qcow2";
    public const string Raw = "application/vnd.hypervisor.disk.v1.raw";
    public const string Kernel = "application/vnd.hypervisor.kernel.v1";
    public const string Initramfs = "application/vnd.hypervisor.initramfs.v1";
}

/// <summary>All that is to be known of a disk image or kernel set beside its files.</summary>
/// <param name="Format">"qcow2", "raw", "kernel".</param>
/// <param name="Types">"vm", "microvm".</param>
/// <param name="VirtualSizeBytes">Of the disk; of a kernel set, of its root file system.</param>
internal sealed record DiskImageConfig(
    string Format, string Architecture, string Os, string? DefaultUser, IReadOnlyList<string> Types, long VirtualSizeBytes);

/// <summary>Writes and reads the documents of disk images. The same image always makes the same bytes, so that importing it twice is importing it once.</summary>
internal static class DiskDocuments
{
    public static byte[] Config(ImageMetadata metadata, long virtualSizeBytes) => JsonSerializer.SerializeToUtf8Bytes(
        new DiskImageConfig(
            NameOf(metadata.Format),
            metadata.Architecture,
            metadata.OperatingSystem,
            metadata.DefaultUser.Length > 0 ? metadata.DefaultUser : null,
            [.. metadata.Types.Select(type => type.ToString().ToLowerInvariant())],
            virtualSizeBytes),
        OciJson.Plain.DiskImageConfig);

    public static byte[] Manifest(OciDescriptor config, IReadOnlyList<OciDescriptor> files) => JsonSerializer.SerializeToUtf8Bytes(
        new OciManifest(2, MediaTypes.Manifest, config with { MediaType = DiskMediaTypes.Config }, files, DiskMediaTypes.Artifact),
        OciJson.Plain.OciManifest);

    /// <summary>What a manifest describes: where it is one of ours, the format that its files show; else an OCI image.</summary>
    public static ImageFormat FormatOf(OciManifest manifest) =>
        manifest.Config?.MediaType != DiskMediaTypes.Config ? ImageFormat.Oci
        : manifest.Layers is [{ MediaType: DiskMediaTypes.Qcow2 }] ? ImageFormat.Qcow2
        : manifest.Layers is [{ MediaType: DiskMediaTypes.Raw }] ? ImageFormat.Raw
        : ImageFormat.Kernel;

    public static string NameOf(ImageFormat format) => format switch
    {
        ImageFormat.Qcow2 => DiskFormats.Qcow2,
        ImageFormat.Raw => "raw",
        ImageFormat.Kernel => "kernel",
        _ => "oci",
    };
}
