using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>Whom we believe, and who we are. Read once at start: a renewed certificate needs a restart.</summary>
internal sealed class EtcdTls : IDisposable
{
    private readonly X509Certificate2Collection? _authorities;
    private readonly X509Certificate2? _certificate;

    private EtcdTls(X509Certificate2Collection? authorities, X509Certificate2? certificate) =>
        (_authorities, _certificate) = (authorities, certificate);

    /// <exception cref="StoreUnavailableException">A file cannot be read or is not what its key says.</exception>
    public static EtcdTls Load(EtcdConfiguration configuration)
    {
        X509Certificate2Collection? authorities = null;
        if (configuration.CertificateAuthorityFile is { } ca)
        {
            authorities = [];
            Read("etcd.ca", ca, () => authorities.ImportFromPemFile(ca));
            if (authorities.Count == 0)
            {
                throw new StoreUnavailableException(
                    $"etcd.ca: {ca} holds no certificate; name a PEM file of the authorities that signed etcd's.");
            }
        }

        X509Certificate2? certificate = null;
        if (configuration.CertificateFile is { } file)
        {
            Read("etcd.cert and etcd.key", file, () => certificate = X509Certificate2.CreateFromPemFile(file, configuration.KeyFile));
        }

        return new EtcdTls(authorities, certificate);
    }

    public SslClientAuthenticationOptions ClientOptions()
    {
        var options = new SslClientAuthenticationOptions();
        if (_certificate is not null)
        {
            options.ClientCertificates = [_certificate];
            options.LocalCertificateSelectionCallback = (_, _, _, _, _) => _certificate;
        }

        if (_authorities is not null)
        {
            var policy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                VerificationFlags = X509VerificationFlags.NoFlag,
            };
            policy.CustomTrustStore.AddRange(_authorities);
            options.CertificateChainPolicy = policy;
        }

        return options;
    }

    public void Dispose()
    {
        _certificate?.Dispose();
        foreach (var authority in _authorities ?? [])
        {
            authority.Dispose();
        }
    }

    private static void Read(string key, string file, Action read)
    {
        try
        {
            read();
        }
        catch (Exception exception) when (
            exception is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
        {
            throw new StoreUnavailableException(
                $"{key}: {file} cannot be used ({exception.Message}); name PEM files that this user may read.", exception);
        }
    }
}
