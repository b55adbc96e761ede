using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>
/// Protects: an image that others' tools pushed to a real registry runs here, behind passwords over TLS and behind tokens, and
/// a pulled one without the registry; no credential is left anywhere (SecretsSilent).
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class RegistryEndToEndTests
{
    private const int WithPassword = 5000;
    private const int WithTokens = 5001;
    private const int Tokens = 5002;
    private const string User = "puller";
    private const string Password = "pull-me-4711";

    // bcrypt of the password, the one algorithm that docker-registry takes, at its cheapest.
    private const string Hash = "$2b$04$8nZDY83LG.g7Y2gGBHRJJe2Y.gjY4JuG0qvoFVKWu5NDlsEqWmVDm";

    [Fact]
    public async Task Images_behind_a_password_and_behind_tokens_are_pulled_and_run()
    {
        using var authority = new TestAuthority();
        var scratch = Directory.CreateTempSubdirectory("hvt-registries-");
        try
        {
            await RunAsync(authority, scratch.FullName);
        }
        finally
        {
            scratch.Delete(recursive: true);
        }
    }

    private static async Task RunAsync(TestAuthority authority, string scratch)
    {
        var (certificate, key) = authority.Issue("localhost");
        foreach (var (name, content) in new[] { ("ca", authority.Pem), ("cert", certificate), ("key", key), ("htpasswd", $"{User}:{Hash}\n"), ("password", Password + "\n") })
        {
            await File.WriteAllTextAsync($"{scratch}/{name}", content);
        }

        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions
        {
            ServerYaml = $$"""
                registries:
                  - {host: "localhost:{{WithPassword}}", username: {{User}}, password_file: {{scratch}}/password, ca: {{scratch}}/ca}
                  - {host: "localhost:{{WithTokens}}", username: {{User}}, password: {{Password}}, plain_http: true}
                  - {host: "localhost:{{Tokens}}", plain_http: true}
                """,
        });
        await using var tokens = await TokenServer.StartAsync(cluster, Tokens, authority, $"{User}:{Password}");
        await using var first = await LocalRegistry.StartAsync(
            cluster, WithPassword, $"auth:\n  htpasswd:\n    realm: test\n    path: {scratch}/htpasswd", $"  tls:\n    certificate: {scratch}/cert\n    key: {scratch}/key");
        await using var second = await LocalRegistry.StartAsync(
            cluster, WithTokens,
            $"auth:\n  token:\n    realm: http://localhost:{Tokens}/token\n    service: {TokenServer.Service}\n    issuer: {TokenServer.Issuer}\n    rootcertbundle: {scratch}/ca");
        var archive = $"{cluster.Folder}/busybox.tar";
        await Shell.RunAsync($"{LocalCluster.Repository}/scripts/image.sh", archive);
        await first.PushAsync($"oci-archive:{archive}", "team/box:1", $"{User}:{Password}");
        await second.PushAsync($"oci-archive:{archive}", "box:2", $"{User}:{Password}");

        await RunsAsync(cluster, "by-password", $"{first.Name}/team/box:1");
        await RunsAsync(cluster, "by-token", $"{second.Name}/box:2", ImagePullPolicy.Always);
        Assert.Contains("repository:box:pull", tokens.Scopes);

        await WrongNamesAreSaidSoAsync(cluster, first.Name);
        await PulledRunsWithoutRegistryAsync(cluster, first);
        var (exitCode, found, _) = await Shell.TryRunAsync(
            "grep", ["-rlaF", Password, $"{cluster.Folder}/server", $"{cluster.Folder}/agent", .. Directory.EnumerateFiles(cluster.Folder, "*.log")]);
        Assert.Equal((1, ""), (exitCode, found));
    }

    private static async Task RunsAsync(LocalCluster cluster, string name, string image, ImagePullPolicy policy = default)
    {
        await CreateAsync(cluster, name, image, policy);
        var running = await cluster.InstanceAsync(name, "runs", instance => instance.Status.State is InstanceState.Running or InstanceState.Failed, 60);
        Assert.Equal((InstanceState.Running, ""), (running.Status.State, running.Status.Message));
        var images = await cluster.Compute.ListImagesAsync(new ListImagesRequest(), deadline: LocalCluster.Deadline(5));
        Assert.Contains(images.Images, entry => entry.Metadata.Name == image && entry.Source == image[..image.LastIndexOf(':')] && !entry.Stored);
    }

    private static async Task WrongNamesAreSaidSoAsync(LocalCluster cluster, string registry)
    {
        await CreateAsync(cluster, "lost", $"{registry}/team/box:none");
        var lost = await cluster.InstanceAsync("lost", "fails", instance => instance.Status.State == InstanceState.Failed);
        Assert.Equal("ImageNotFound", lost.Status.Reason);
        Assert.Contains($"Registry {registry} has no image team/box:none", lost.Status.Message, StringComparison.Ordinal);

        // Not configured, so its private address is not called.
        await CreateAsync(cluster, "private", "127.0.0.1:5000/team/box:1");
        var refused = await cluster.InstanceAsync("private", "says why", instance => instance.Status.Reason == "RegistryNotTrusted");
        Assert.Contains("registries:", refused.Status.Message, StringComparison.Ordinal);
    }

    private static async Task PulledRunsWithoutRegistryAsync(LocalCluster cluster, LocalRegistry registry)
    {
        await Shell.RunAsync(
            "nsenter", $"--net={cluster.NetworkNamespace}", "--", "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
            "--src-creds", $"{User}:{Password}", "--dest-creds", $"{User}:{Password}", $"docker://{registry.Name}/team/box:1", $"docker://{registry.Name}/kept:1");
        var image = $"{registry.Name}/kept:1";
        var reports = new List<PullImageResponse>();
        using (var pull = cluster.Compute.PullImage(new PullImageRequest { Image = image }, deadline: LocalCluster.Deadline(60)))
        {
            await foreach (var report in pull.ResponseStream.ReadAllAsync(TestContext.Current.CancellationToken))
            {
                reports.Add(report);
            }
        }

        Assert.True(reports[^1].Image.Stored);
        Assert.Equal(reports[^1].BytesTotal, reports[^1].BytesDone);

        // The node's own copy goes too: the same content came with the first image.
        foreach (var name in new[] { "by-password", "by-token" })
        {
            await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
        }

        await RealTime.UntilAsync("the instances are gone", TimeSpan.FromSeconds(30), () => new Leftovers(cluster).InstanceProcesses().Count == 0);
        await cluster.Agent.StopAsync();
        await new Leftovers(cluster).ContainerdAsync("images", "rm", "--sync", $"hypervisor.zixiao/image@{reports[^1].Image.Digest}");
        await registry.KillAsync();
        cluster.Agent.Start();
        await CreateAsync(cluster, "kept", image);
        await cluster.InstanceAsync("kept", "runs", instance => instance.Status.State == InstanceState.Running, 60);
    }

    private static async Task CreateAsync(LocalCluster cluster, string name, string image, ImagePullPolicy policy = default) => await cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = image,
                ImagePullPolicy = policy,
                Resources = new Resources { CpuMillicores = 100, MemoryBytes = 32 << 20 },
                Process = new ProcessSpec { Command = { "sleep", "3600" } },
                Stop = new StopSpec { Signal = "SIGKILL" },
            },
        },
        deadline: LocalCluster.Deadline(10));
}
