using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>Brings images onto the node. One download serves all who wait for the same digest.</summary>
internal interface IImageProvider
{
    /// <summary>
    /// Makes the image present and unpacked, and answers the manifest's digest.
    /// </summary>
    /// <param name="digest">As the control plane resolved it; empty means resolve <paramref name="reference"/> now.</param>
    /// <param name="policy">Whether the registry is asked what the reference means.</param>
    /// <exception cref="Drivers.DriverException">
    /// ImageNotFound, ImageInvalid, ImageUnauthorized, ImageUnavailable, RegistryNotTrusted, DiskFull, RuntimeUnavailable.
    /// </exception>
    Task<string> EnsureAsync(string project, string reference, string digest, ImagePullPolicy policy, CancellationToken cancellationToken);
}
