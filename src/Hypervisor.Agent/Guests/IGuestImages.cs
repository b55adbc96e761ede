using Hypervisor.Agent.Images;

namespace Hypervisor.Agent.Guests;

/// <summary>What disks are made of: images that are on the node already, as a file that a VMM can open.</summary>
internal interface IGuestImages
{
    /// <summary>
    /// The root file system of an OCI image, made once per digest whoever waits, or a disk image as it was imported. Used as a backing file: it
    /// is read-only, and held until every overlay over it is gone.
    /// </summary>
    /// <exception cref="Drivers.DriverException">ImageNotFound, ImageInvalid, DiskFull, RootFileSystemFailed.</exception>
    Task<GuestImage> OpenAsync(string digest, CancellationToken cancellationToken);
}

/// <param name="Digest">Of the manifest.</param>
/// <param name="VirtualSizeBytes">What a guest sees.</param>
/// <param name="Process">How an OCI image is run; null for a disk image, which boots itself.</param>
internal sealed record GuestImage(string Digest, string Path, DiskFormat Format, long VirtualSizeBytes, ImageDefaults? Process)
{
    /// <summary>
    /// Tells one making of an image's file from another: a disk over the first means nothing over the second. Empty for files that are the
    /// image's own bytes.
    /// </summary>
    public string Build { get; init; } = "";

    /// <summary>Of a kernel set: what boots instead of our own kernel.</summary>
    public (string Kernel, string Initramfs)? Kernel { get; init; }
}
