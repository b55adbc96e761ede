using System.Text.RegularExpressions;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;

namespace Hypervisor.Server.Images;

/// <summary>What an import's header says, checked.</summary>
/// <param name="Format">Unspecified for what may be an OCI archive or a qcow2.</param>
/// <param name="Types">Never empty.</param>
/// <param name="MaxVirtualSize">Bytes a disk made of it may have.</param>
/// <param name="Files">Of a kernel set, in the order in which they come.</param>
internal sealed partial record ImageMetadata(
    ImageFormat Format, ContentChecksum? Checksum, string Architecture, string OperatingSystem, string DefaultUser, IReadOnlyList<InstanceType> Types,
    long MaxVirtualSize, IReadOnlyList<ImportImageFile> Files)
{
    /// <summary>The user said how large the disk is: it may compress as well as it does.</summary>
    public bool SizeDeclared { get; private init; }

    /// <summary>Who can run a format: disk images boot themselves, which takes a firmware.</summary>
    public static IReadOnlyList<InstanceType> TypesOf(ImageFormat format) => format switch
    {
        ImageFormat.Qcow2 or ImageFormat.Raw => [InstanceType.Vm],
        ImageFormat.Kernel => [InstanceType.Vm, InstanceType.Microvm],
        _ => [InstanceType.Container, InstanceType.Vm, InstanceType.Microvm],
    };

    /// <param name="field">In front of the fields' names: "", or "image." where the header is part of a request.</param>
    public static ImageMetadata Of(ImportImageHeader header, ImagesConfiguration limits, string field, FieldViolations violations)
    {
        ContentChecksum? checksum = null;
        if (header.Checksum.Length > 0 && !ContentChecksum.TryParse(header.Checksum, out checksum))
        {
            violations.Add($"{field}checksum", $"\"{DisplayText.Of(header.Checksum)}\" is not a checksum; {ContentChecksum.Rule}.");
        }

        if (!Enum.IsDefined(header.Format))
        {
            violations.Add($"{field}format", $"{(int)header.Format} is not a format of images.");
        }

        if (header.SizeBytes < 0 || header.SizeBytes > limits.MaxArchiveBytes)
        {
            violations.Add($"{field}size_bytes", $"{header.SizeBytes} is out of range; at most {limits.MaxArchiveBytes} bytes are taken (images.max_archive_size).");
        }

        var described = header.Architecture.Length + header.OperatingSystem.Length + header.DefaultUser.Length + header.Types_.Count > 0 || header.VirtualSizeBytes != 0;
        if (described && header.Format is ImageFormat.Unspecified or ImageFormat.Oci)
        {
            violations.Add($"{field}format", "architecture, operating system, user, types and virtual size are said of disk images and kernel sets; an OCI image says them itself. Name the format, or leave them out.");
        }

        CheckDescription(header, limits, field, violations);
        CheckFiles(header, field, violations);
        IReadOnlyList<InstanceType> types = header.Types_.Count > 0 ? [.. header.Types_.Distinct().Order()] : TypesOf(header.Format);
        return new(
            header.Format, checksum, Or(header.Architecture, ImageConfigRules.Architecture), Or(header.OperatingSystem, ImageConfigRules.OperatingSystem),
            header.DefaultUser, types, header.VirtualSizeBytes > 0 ? header.VirtualSizeBytes : limits.MaxVirtualBytes, header.Files)
        {
            SizeDeclared = header.VirtualSizeBytes > 0,
        };
    }

    private static void CheckDescription(ImportImageHeader header, ImagesConfiguration limits, string field, FieldViolations violations)
    {
        if (header.Architecture is not ("" or ImageConfigRules.Architecture))
        {
            violations.Add($"{field}architecture", $"\"{DisplayText.Of(header.Architecture)}\": nodes run {ImageConfigRules.Architecture}.");
        }

        if (header.OperatingSystem.Length > 0 && !SystemPattern().IsMatch(header.OperatingSystem))
        {
            violations.Add($"{field}operating_system", $"\"{DisplayText.Of(header.OperatingSystem)}\" is not a name as \"linux\": 1-{Limits.Disks.OperatingSystemCharacters} of a-z, 0-9, '.' and '-'.");
        }

        if (header.DefaultUser.Length > 0 && !UserPattern().IsMatch(header.DefaultUser))
        {
            violations.Add($"{field}default_user", $"\"{DisplayText.Of(header.DefaultUser)}\" is not a user's name: 1-{Limits.Disks.UserCharacters} of a-z, 0-9, '_' and '-', begun with a letter.");
        }

        if (header.VirtualSizeBytes < 0 || header.VirtualSizeBytes > limits.MaxVirtualBytes)
        {
            violations.Add($"{field}virtual_size_bytes", $"{header.VirtualSizeBytes} is out of range; at most {limits.MaxVirtualBytes} bytes are allowed (images.max_virtual_size).");
        }

        var possible = TypesOf(header.Format);
        if (header.Types_.FirstOrDefault(type => !possible.Contains(type)) is not InstanceType.Unspecified and var other)
        {
            violations.Add($"{field}types", $"{other} cannot run it: {string.Join(", ", possible)} can.");
        }
        else if (header.Types_.Contains(InstanceType.Unspecified))
        {
            violations.Add($"{field}types", "INSTANCE_TYPE_UNSPECIFIED is none; leave types empty for all that can run it.");
        }
    }

    private static void CheckFiles(ImportImageHeader header, string field, FieldViolations violations)
    {
        if (header.Format != ImageFormat.Kernel)
        {
            if (header.Files.Count > 0)
            {
                violations.Add($"{field}files", "are those of a kernel set; set format to IMAGE_FORMAT_KERNEL.");
            }

            return;
        }

        var roles = header.Files.Select(file => file.Role).Order().ToList();
        if (!roles.SequenceEqual([ImageFileRole.Kernel, ImageFileRole.Initramfs, ImageFileRole.Rootfs]))
        {
            violations.Add($"{field}files", "A kernel set has a kernel, an initramfs and a root file system, each once.");
        }

        foreach (var file in header.Files)
        {
            var most = file.Role switch
            {
                ImageFileRole.Kernel => Limits.Disks.KernelBytes,
                ImageFileRole.Initramfs => Limits.Disks.InitramfsBytes,
                _ => long.MaxValue,
            };
            if (file.SizeBytes <= 0 || file.SizeBytes > most)
            {
                violations.Add($"{field}files", $"{file.Role} has {file.SizeBytes} bytes; {(most == long.MaxValue ? "say how many follow" : $"1 to {most} are taken")}.");
            }
        }
    }

    private static string Or(string text, string otherwise) => text.Length > 0 ? text : otherwise;

    [GeneratedRegex(@"^[a-z0-9][a-z0-9.-]{0,31}\z", RegexOptions.CultureInvariant)]
    private static partial Regex SystemPattern();

    [GeneratedRegex(@"^[a-z_][a-z0-9_-]{0,31}\z", RegexOptions.CultureInvariant)]
    private static partial Regex UserPattern();
}
