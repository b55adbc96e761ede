using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Hosting.Registries;

/// <summary>One machine that speaks the distribution protocol, or that such a machine sends us to.</summary>
/// <param name="Name">"host" or "host:port", in lower case.</param>
internal sealed record RegistryHost(string Name)
{
    /// <summary>docker.io is a name; its machines answer elsewhere.</summary>
    private const string DockerHub = "registry-1.docker.io";

    /// <summary>An operator named it: it may have a private address. What only a user or a registry named may not.</summary>
    public bool Trusted { get; init; }

    /// <summary>HTTP without encryption.</summary>
    public bool PlainHttp { get; init; }

    /// <summary>PEM text; empty means the system's authorities.</summary>
    public string CertificateAuthority { get; init; } = "";

    public string Username { get; init; } = "";

    public Secret Password { get; init; }

    public bool HasCredentials => Username.Length > 0;

    public Uri Address => new($"{(PlainHttp ? "http" : "https")}://{(Name == ImageReference.DefaultRegistry ? DockerHub : Name)}");

    public override string ToString() => Name;
}

/// <summary>Where the blobs of one repository are.</summary>
/// <param name="Repository">"library/ubuntu".</param>
/// <param name="Endpoints">In the order in which they are asked: mirrors, then the registry itself.</param>
/// <param name="Known">Hosts that an operator named, to which an endpoint may refer us although their address is private.</param>
internal sealed record RegistrySource(string Repository, IReadOnlyList<RegistryHost> Endpoints, IReadOnlyList<RegistryHost> Known)
{
    /// <summary>
    /// How to speak to a host that an endpoint refers to; never with any credentials. Only whom an operator named may send us to
    /// what an operator named: others would choose what we ask in the operator's network.
    /// </summary>
    public RegistryHost Referred(Uri address, RegistryHost by)
    {
        var known = by.Trusted ? Endpoints.Concat(Known).FirstOrDefault(host => IsAt(host, address)) : null;
        return (known ?? new RegistryHost(address.Authority)) with { Username = "", Password = default };
    }

    public override string ToString() => $"{Endpoints[^1]}/{Repository}";

    private static bool IsAt(RegistryHost host, Uri address) =>
        string.Equals(host.Address.Host, address.Host, StringComparison.OrdinalIgnoreCase) && host.Address.Port == address.Port;
}
