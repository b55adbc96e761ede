using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Images.Registries;

/// <summary>How each registry is reached: as configured, else over TLS at a public address, without credentials.</summary>
internal sealed class RegistryDirectory
{
    private readonly IReadOnlyList<RegistryHost> _known;
    private readonly Dictionary<string, IReadOnlyList<string>> _mirrors;

    public RegistryDirectory(IReadOnlyList<RegistryConfiguration> configured)
    {
        _known =
        [
            .. configured.Select(registry => new RegistryHost(registry.Host)
            {
                Trusted = true,
                PlainHttp = registry.PlainHttp,
                CertificateAuthority = registry.CertificateAuthority,
                Username = registry.Username,
                Password = registry.Password,
            }),
        ];
        _mirrors = configured.ToDictionary(registry => registry.Host, registry => registry.Mirrors, StringComparer.Ordinal);
    }

    /// <summary>Hosts of <c>images.import_hosts</c>; what authority one has is said under <c>registries</c>, its credentials are not for this.</summary>
    public static IReadOnlyList<RegistryHost> ImportHosts(ServerConfiguration configuration) =>
    [
        .. configuration.Images.ImportHosts.Select(name => new RegistryHost(name)
        {
            Trusted = true,
            CertificateAuthority = configuration.Registries.FirstOrDefault(registry => registry.Host == name)?.CertificateAuthority ?? "",
        }),
    ];

    public RegistrySource SourceOf(ImageReference reference) => new(
        reference.Repository,
        [.. _mirrors.GetValueOrDefault(reference.Registry, []).Append(reference.Registry).Select(HostOf)],
        _known);

    /// <summary>For an agent: with the credentials of those it asks, without anyone else's.</summary>
    public ImageSource ForAgent(ImageReference reference)
    {
        var source = SourceOf(reference);
        var shown = new ImageSource { Repository = source.Repository };
        shown.Endpoints.AddRange(source.Endpoints.Select(Endpoint));
        shown.Known.AddRange(source.Known.Select(host => Endpoint(host with { Username = "", Password = default })));
        return shown;
    }

    /// <summary>A mirror is as trusted as the configuration that names it.</summary>
    private RegistryHost HostOf(string name) =>
        _known.FirstOrDefault(host => host.Name == name) ?? new RegistryHost(name) { Trusted = _mirrors.Values.Any(mirrors => mirrors.Contains(name)) };

    private static RegistryEndpoint Endpoint(RegistryHost host) => new()
    {
        Host = host.Name,
        PlainHttp = host.PlainHttp,
        CertificateAuthority = host.CertificateAuthority,
        Trusted = host.Trusted,
        Username = host.Username,
        Password = host.Password.Reveal(),
    };
}
