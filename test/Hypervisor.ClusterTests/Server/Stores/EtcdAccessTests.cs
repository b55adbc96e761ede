using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Hypervisor.Server.Stores;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Server.Stores.EtcdFaults;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>Protects: etcd's authentication and TLS, and that what is wrong with them is said in words that help.</summary>
public sealed class EtcdAccessTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hvt-etcd-access-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact(Timeout = 180_000)]
    public async Task With_authentication_on_the_store_works_and_renews_its_token()
    {
        await using var etcd = await EtcdCluster.StartAsync();
        await EnableAuthenticationAsync(etcd);
        await using var store = await OpenAsync(etcd, with => with with { Username = "zixiao", Password = Password("s3cret") });
        var first = await PutAsync(store, "a");
        await using var watcher = new ExactWatcher(store, first);
        await watcher.ReachesAsync(first);
        await using var leadership = await store.CampaignAsync("e", "one", TimeSpan.FromSeconds(5), Cancellation);

        // Tokens are in the member's memory only: after a restart it knows none of them.
        await etcd.Members[0].KillAsync();
        etcd.Members[0].Start();
        var second = await PutAtLastAsync(store, "b");
        await watcher.ReachesAsync(second);
        await watcher.AgreesAsync(store);
    }

    [Theory(Timeout = 180_000)]
    [InlineData(null, null, "set etcd.username and etcd.password")]
    [InlineData("zixiao", "wrong", "does not accept etcd.username with its password")]
    [InlineData("reader", "s3cret", "grant it read and write on all keys")]
    public async Task Who_may_not_is_told_what_to_do(string? user, string? password, string expected)
    {
        await using var etcd = await EtcdCluster.StartAsync();
        await EnableAuthenticationAsync(etcd);

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(async () =>
        {
            await using var store = await OpenAsync(etcd, with =>
                user is null ? with : with with { Username = user, Password = Password(password!) });
            await PutAsync(store, "a");
        });

        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", refused.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("wrong", refused.ToString(), StringComparison.Ordinal);
    }

    [Fact(Timeout = 180_000)]
    public async Task With_TLS_both_sides_prove_who_they_are()
    {
        var ours = Certificates("ours");
        var theirs = Certificates("theirs");
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Certificates = ours });

        await using (var store = await OpenAsync(etcd, with => with with
        {
            CertificateAuthorityFile = ours.Authority,
            CertificateFile = ours.ClientCertificate,
            KeyFile = ours.ClientKey,
        }))
        {
            var revision = await PutAsync(store, "a");
            await using var watcher = new ExactWatcher(store, revision);
            await watcher.ReachesAsync(revision);
        }

        var stranger = await Assert.ThrowsAsync<StoreUnavailableException>(() =>
            OpenAsync(etcd, with => with with { CertificateAuthorityFile = theirs.Authority }));
        Assert.Contains("Check etcd.ca", stranger.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<StoreUnavailableException>(() =>
            OpenAsync(etcd, with => with with { CertificateAuthorityFile = ours.Authority }));
        var missing = await Assert.ThrowsAsync<StoreUnavailableException>(() =>
            OpenAsync(etcd, with => with with { CertificateAuthorityFile = "/does/not/exist" }));
        Assert.Contains("etcd.ca: /does/not/exist cannot be used", missing.Message, StringComparison.Ordinal);
    }

    [Fact(Timeout = 180_000)]
    public async Task Where_nobody_listens_the_address_is_named()
    {
        var endpoints = new[] { new Uri("http://127.0.0.1:1") };
        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(
            () => Hypervisor.Server.Stores.Etcd.EtcdStore.OpenAsync(new() { Endpoints = endpoints }, RealTime.Clock));

        Assert.Contains("etcd at 127.0.0.1:1 cannot be reached", refused.Message, StringComparison.Ordinal);
    }

    private static async Task EnableAuthenticationAsync(EtcdCluster etcd)
    {
        await etcd.ControlAsync("user", "add", "root:r00t");
        await etcd.ControlAsync("role", "add", "everything");
        await etcd.ControlAsync("role", "grant-permission", "everything", "--prefix=true", "readwrite", "");
        await etcd.ControlAsync("role", "add", "reading");
        await etcd.ControlAsync("role", "grant-permission", "reading", "--prefix=true", "read", "");
        await etcd.ControlAsync("user", "add", "zixiao:s3cret");
        await etcd.ControlAsync("user", "grant-role", "zixiao", "everything");
        await etcd.ControlAsync("user", "add", "reader:s3cret");
        await etcd.ControlAsync("user", "grant-role", "reader", "reading");
        await etcd.ControlAsync("user", "grant-role", "root", "root");
        await etcd.ControlAsync("auth", "enable");
    }

    private EtcdCertificates Certificates(string name)
    {
        var now = RealTime.Clock.GetUtcNow();
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var authorityRequest = new CertificateRequest($"CN={name} authority", authorityKey, HashAlgorithmName.SHA256);
        authorityRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var authority = authorityRequest.CreateSelfSigned(now.AddDays(-1), now.AddDays(1));
        var authorityFile = Write($"{name}-ca.pem", authority.ExportCertificatePem());
        var (serverCertificate, serverKey) = Sign(authority, $"{name}-server", 1);
        var (clientCertificate, clientKey) = Sign(authority, $"{name}-client", 2);
        return new EtcdCertificates(authorityFile, serverCertificate, serverKey, clientCertificate, clientKey);
    }

    private (string Certificate, string Key) Sign(X509Certificate2 authority, string name, byte serial)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();

        // etcd's test addresses are all over 127.0.0.0/8, and certificates name single addresses.
        foreach (var address in EtcdCluster.PossibleAddresses())
        {
            names.AddIpAddress(IPAddress.Parse(address));
        }

        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(
            new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], false));
        using var certificate = request.Create(authority, authority.NotBefore, authority.NotAfter, [serial]);
        return (Write($"{name}.pem", certificate.ExportCertificatePem()), Write($"{name}.key", key.ExportPkcs8PrivateKeyPem()));
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }
}
