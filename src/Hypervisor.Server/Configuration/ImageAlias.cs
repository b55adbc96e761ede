using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Configuration;

/// <summary>A short name of an image, and what it stands for. See <c>configs/image-aliases.yaml</c>.</summary>
/// <param name="Name">Written without a tag: "ubuntu".</param>
/// <param name="Oci">What containers and microVMs run.</param>
/// <param name="Disk">What VMs boot; null leaves them the OCI image too.</param>
internal sealed record ImageAlias(string Name, ImageReference Oci, AliasDisk? Disk);

/// <summary>A disk image that is imported when it is first needed.</summary>
/// <param name="Image">Its name in the catalogue: "ubuntu:cloud".</param>
/// <param name="Checksum">"sha256:..."; empty where <paramref name="Checksums"/> says it.</param>
/// <param name="Checksums">A file of lines "CHECKSUM  NAME" beside the image; null where the checksum is fixed.</param>
internal sealed record AliasDisk(
    ImageReference Image, Uri Url, string Checksum, Uri? Checksums, ImageFormat Format, string DefaultUser, string OperatingSystem);
