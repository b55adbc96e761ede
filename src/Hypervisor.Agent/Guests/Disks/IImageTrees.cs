using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Images;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Where the files of an OCI image can be read, all layers merged.</summary>
internal interface IImageTrees
{
    /// <summary>Held until disposed of.</summary>
    /// <param name="digest">Of the manifest.</param>
    /// <exception cref="DriverException">ImageNotFound, ImageInvalid, RuntimeUnavailable, RootFileSystemFailed.</exception>
    Task<IImageTree> OpenAsync(string digest, CancellationToken cancellationToken);
}

internal interface IImageTree : IAsyncDisposable
{
    /// <summary>A folder that nobody changes while it is read, and in which no device can be opened.</summary>
    string Path { get; }

    /// <summary>Bytes on disk of all layers, at least what is seen of them.</summary>
    long Bytes { get; }

    /// <summary>Files of all layers, likewise.</summary>
    long Inodes { get; }

    ImageDefaults Defaults { get; }
}
