using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Images;

/// <summary>Where the blobs of one image come from: its registry, the control plane, or first the one and then the other.</summary>
/// <param name="stored">The control plane has all of them: no reason to wait for a registry that is down.</param>
/// <param name="maxUnpackedBytes">Of all layers together.</param>
internal sealed class ImageOrigin(RegistrySource? source, bool stored, long maxUnpackedBytes = long.MaxValue)
{
    /// <summary>Null once the registry has failed and the control plane is asked instead.</summary>
    public RegistrySource? Registry { get; private set; } = source;

    public bool Stored => stored;

    public long MaxUnpackedBytes => maxUnpackedBytes;

    /// <summary>Why the registry is no longer asked.</summary>
    public RegistryException? Failure { get; private set; }

    public static ImageOrigin Of(ResolveImageResponse answer) => new(
        answer.Source is { } source
            ? new RegistrySource(source.Repository, [.. source.Endpoints.Select(HostOf)], [.. source.Known.Select(HostOf)])
            : null,
        answer.Stored,
        answer.MaxUnpackedBytes > 0 ? answer.MaxUnpackedBytes : long.MaxValue);

    public void GiveUpRegistry(RegistryException failure) => (Registry, Failure) = (null, failure);

    /// <summary>The refusal of a registry, or of the control plane that asked one, as an instance shows it.</summary>
    public static DriverException Explain(RegistryException failure) => failure.Failure switch
    {
        RegistryFailure.NotFound => new("ImageNotFound", failure.Message, permanent: true, failure),
        RegistryFailure.Invalid => new("ImageInvalid", failure.Message, permanent: true, failure),
        RegistryFailure.Unauthorized => new("ImageUnauthorized", failure.Message, permanent: false, failure),
        RegistryFailure.Untrusted or RegistryFailure.Refused => new("RegistryNotTrusted", failure.Message, permanent: false, failure),
        _ => new("ImageUnavailable", failure.Message, permanent: false, failure),
    };

    /// <inheritdoc cref="Explain(RegistryException)"/>
    public static DriverException Explain(RpcException failure, string reference) => failure.StatusCode switch
    {
        StatusCode.NotFound => new("ImageNotFound", failure.Status.Detail, permanent: true, failure),
        StatusCode.InvalidArgument => new("ImageNotFound", $"\"{reference}\" is not an image's name; correct spec.image", permanent: true, failure),
        StatusCode.DataLoss => new("ImageInvalid", failure.Status.Detail, permanent: true, failure),
        StatusCode.PermissionDenied => new("ImageUnauthorized", failure.Status.Detail, permanent: false, failure),
        StatusCode.FailedPrecondition => new("RegistryNotTrusted", failure.Status.Detail, permanent: false, failure),
        _ => new("ImageUnavailable", $"the image \"{reference}\" could not be looked up: {failure.Status.Detail}", permanent: false, failure),
    };

    private static RegistryHost HostOf(RegistryEndpoint endpoint) => new(endpoint.Host)
    {
        PlainHttp = endpoint.PlainHttp,
        CertificateAuthority = endpoint.CertificateAuthority,
        Trusted = endpoint.Trusted,
        Username = endpoint.Username,
        Password = new Secret(endpoint.Password),
    };
}
