using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Xunit;

namespace Hypervisor.Tests.Hosting.Registries;

/// <summary>Protects: a registry is who its name says, by an authority that the operator chose or the system knows.</summary>
public sealed class RegistryTlsTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Only_the_configured_authority_and_the_right_name_are_trusted()
    {
        using var authority = new Authority();
        using var rogue = new Authority();
        using var good = authority.Issue("localhost", IPAddress.Loopback);
        using var wrongName = authority.Issue("other.example", IPAddress.Parse("192.0.2.1"));

        Assert.Null(await AskAsync(good, authority.Pem));
        Assert.Equal(RegistryFailure.Untrusted, await AskAsync(good, rogue.Pem));
        Assert.Equal(RegistryFailure.Untrusted, await AskAsync(good, ""));
        Assert.Equal(RegistryFailure.Untrusted, await AskAsync(wrongName, authority.Pem));
        Assert.Equal(RegistryFailure.Untrusted, await AskAsync(good, "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----"));
    }

    [Fact]
    public async Task A_registry_that_does_not_encrypt_is_said_so()
    {
        await using var registry = await FakeRegistry.StartAsync();
        using var client = new RegistryClient(RealClock.Instance, new SystemRandomSource());
        var failure = await Assert.ThrowsAsync<RegistryException>(
            () => client.GetManifestAsync(new("app", [registry.Host with { PlainHttp = false }], []), "1", Cancel));
        Assert.Contains("plain_http", failure.Message, StringComparison.Ordinal);
    }

    private static async Task<RegistryFailure?> AskAsync(X509Certificate2 certificate, string authority)
    {
        await using var registry = await FakeRegistry.StartAsync(certificate);
        registry.AddManifest("app", "1", "{}"u8.ToArray());
        using var client = new RegistryClient(RealClock.Instance, new SystemRandomSource());
        try
        {
            await client.GetManifestAsync(new("app", [registry.Host with { PlainHttp = false, CertificateAuthority = authority }], []), "1", Cancel);
            return null;
        }
        catch (RegistryException exception)
        {
            return exception.Failure;
        }
    }

    private sealed class Authority : IDisposable
    {
        private static readonly DateTimeOffset Now = RealClock.Instance.GetUtcNow();

        private readonly RSA _key = RSA.Create(2048);
        private readonly X509Certificate2 _certificate;

        public Authority()
        {
            var request = new CertificateRequest("CN=test authority " + Convert.ToHexString(RandomNumberGenerator.GetBytes(4)), _key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
            _certificate = request.CreateSelfSigned(Now.AddDays(-1), Now.AddDays(1));
        }

        public string Pem => _certificate.ExportCertificatePem();

        public X509Certificate2 Issue(string name, IPAddress address)
        {
            using var key = RSA.Create(2048);
            var request = new CertificateRequest("CN=" + name, key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            var names = new SubjectAlternativeNameBuilder();
            names.AddDnsName(name);
            names.AddIpAddress(address);
            request.CertificateExtensions.Add(names.Build());
            using var issued = request.Create(_certificate, Now.AddHours(-1), Now.AddHours(1), RandomNumberGenerator.GetBytes(8));
            using var withKey = issued.CopyWithPrivateKey(key);
            return X509CertificateLoader.LoadPkcs12(withKey.Export(X509ContentType.Pkcs12), null);
        }

        public void Dispose()
        {
            _certificate.Dispose();
            _key.Dispose();
        }
    }
}
