using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Disk images and kernel sets that are on the node.</summary>
internal interface IDiskImages
{
    /// <summary>Null for an image that is none of these, or is not here.</summary>
    /// <exception cref="DriverException">ImageInvalid.</exception>
    Task<GuestImage?> FindAsync(string digest, CancellationToken cancellationToken);
}

/// <summary>What disks are made of, from wherever it is: the root file systems of OCI images, and disk images.</summary>
internal sealed class GuestImages(RootFileSystems rootFileSystems, IDiskImages diskImages) : IGuestImages
{
    public async Task<GuestImage> OpenAsync(string digest, CancellationToken cancellationToken)
    {
        // One that was made needs neither the store of disk images nor containerd.
        if (rootFileSystems.Find(digest) is { } made)
        {
            return Of(made);
        }

        return await diskImages.FindAsync(digest, cancellationToken) ?? Of(await rootFileSystems.EnsureAsync(digest, cancellationToken));
    }

    private static GuestImage Of(RootFileSystem made) =>
        new(made.Digest, made.Path, DiskFormat.Raw, made.VirtualSizeBytes, made.Defaults) { Build = made.Build };
}
