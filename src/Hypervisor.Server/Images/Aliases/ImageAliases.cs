using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Images.Aliases;

/// <summary>What short names stand for. Only the bare name is one: "ubuntu:24.04" and "docker.io/library/ubuntu" mean what they say.</summary>
internal sealed class ImageAliases(IReadOnlyList<ImageAlias> aliases)
{
    private readonly Dictionary<string, ImageAlias> _byName = aliases.ToDictionary(alias => alias.Name, StringComparer.Ordinal);

    /// <summary>The image that an instance of a type gets for what its user wrote.</summary>
    /// <param name="type">Unspecified where there is no instance: the OCI image.</param>
    public string Resolve(string written, InstanceType type) =>
        !_byName.TryGetValue(written, out var alias) ? written
        : (type == InstanceType.Vm && alias.Disk is { } disk ? disk.Image : alias.Oci).ToString();

    /// <summary>The disk image of that name in the catalogue, if an alias says where it comes from.</summary>
    public AliasDisk? DiskOf(ImageReference reference) => aliases.FirstOrDefault(alias => alias.Disk?.Image == reference)?.Disk;
}
