using System.Text;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>
/// A cluster that logs all it has to say, two real registries, one behind htpasswd and one behind tokens, and two ways to each: one
/// with the right password and one with a wrong one.
/// </summary>
public sealed class RegistriesCluster : IAsyncLifetime
{
    /// <summary>Configured; nothing listens there until a test has it.</summary>
    internal const int LaterPort = 5020;

    private const int PasswordPort = 5000;
    private const int TokenPort = 5001;
    private const int TokenServerPort = 5002;
    private const string User = "puller";
    private const string Password = "pull-me-4711";
    private const string WrongPassword = "stale-one-8152";

    // bcrypt of the password, the one algorithm that docker-registry takes, at its cheapest.
    private const string Hash = "$2b$04$8nZDY83LG.g7Y2gGBHRJJe2Y.gjY4JuG0qvoFVKWu5NDlsEqWmVDm";

    private readonly Dictionary<string, LocalRegistry> _registries = [];
    private readonly List<IAsyncDisposable> _parts = [];
    private readonly DirectoryInfo _scratch = Directory.CreateTempSubdirectory("hvt-registries-");
    private readonly TestAuthority _authority = new();
    private TokenServer _tokens = null!;
    private int _layouts;

    internal LocalCluster Cluster { get; private set; } = null!;

    internal CommandLine Ctl => new(Cluster);

    /// <summary>By what its registry asks for: "password" or "token".</summary>
    internal Dictionary<string, RegistryProxy> Ways { get; } = [];

    /// <summary>Likewise, with credentials that the registry refuses.</summary>
    internal Dictionary<string, RegistryProxy> WrongWays { get; } = [];

    public async ValueTask InitializeAsync()
    {
        try
        {
            await StartAsync();
        }
        catch
        {
            await DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var part in Enumerable.Reverse(_parts))
        {
            await part.DisposeAsync();
        }

        _authority.Dispose();
        _scratch.Delete(recursive: true);
    }

    internal async Task CreateAsync(string name, string image) => await Cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = image,
                Resources = new Resources { CpuMillicores = 50, MemoryBytes = 32 << 20 },
                Process = new ProcessSpec { Command = { "/busybox", "sleep", "3600" } },
                Stop = new StopSpec { Signal = "SIGKILL" },
            },
        },
        deadline: LocalCluster.Deadline(10));

    internal async Task DeleteAsync(string name)
    {
        await Cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
            (await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5))).Instances.All(instance => instance.Metadata.Name != name));
    }

    /// <summary>An image like no other, with layers of one and a half megabytes each.</summary>
    /// <param name="kind">The registry, by what it asks for.</param>
    internal Task PushAsync(string kind, string image, int layers) => PushAsync(_registries[kind], image, layers, $"{User}:{Password}");

    internal async Task PushAsync(LocalRegistry registry, string image, int layers, string credentials = "")
    {
        var layout = $"{_scratch.FullName}/layout-{Interlocked.Increment(ref _layouts)}";
        await ImageLayout.WriteAsync(layout, [.. Enumerable.Repeat(new ImageLayer(3_000_000, 3), layers)]);
        await registry.PushAsync($"oci:{layout}:{ImageLayout.Name}", image, credentials);
    }

    /// <summary>No password, right or wrong, in clear or as it is sent, and no token is in a log or in what server and agent keep.</summary>
    internal async Task RequireSilenceAsync()
    {
        // So that there is one that could be told, whichever test comes first.
        await PushAsync("token", "team/open:1", layers: 1);
        await Ctl.RunAsync("image", "pull", $"{Ways["token"].Name}/team/open:1");
        Assert.NotEmpty(_tokens.Given);
        var secrets = new[] { Password, WrongPassword }.SelectMany(password => new[] { password, Convert.ToBase64String(Encoding.UTF8.GetBytes($"{User}:{password}")) })
            .Concat(_tokens.Given);
        var patterns = $"{_scratch.FullName}/secrets";
        await File.WriteAllLinesAsync(patterns, secrets);
        var (exitCode, found, _) = await Shell.TryRunAsync(
            "grep", ["-rlaF", "-f", patterns, $"{Cluster.Folder}/server", $"{Cluster.Folder}/agent", .. Directory.EnumerateFiles(Cluster.Folder, "*.log")]);
        Assert.Equal((1, ""), (exitCode, found));
    }

    private async Task StartAsync()
    {
        var folder = _scratch.FullName;
        await File.WriteAllTextAsync($"{folder}/ca", _authority.Pem);
        await File.WriteAllTextAsync($"{folder}/htpasswd", $"{User}:{Hash}\n");
        Cluster = Owned(await LocalCluster.StartAsync(new LocalClusterOptions
        {
            ServerYaml = $$"""
                log:
                  level: debug
                  format: json
                registries:
                  - {host: "localhost:5010", username: {{User}}, password: {{Password}}, plain_http: true}
                  - {host: "localhost:5011", username: {{User}}, password: {{Password}}, plain_http: true}
                  - {host: "localhost:5012", username: {{User}}, password: {{WrongPassword}}, plain_http: true}
                  - {host: "localhost:5013", username: {{User}}, password: {{WrongPassword}}, plain_http: true}
                  - {host: "localhost:{{LaterPort}}", plain_http: true}
                  - {host: "localhost:{{TokenServerPort}}", plain_http: true}
                """,
            AgentYaml = "log:\n  level: debug\n  format: json\n",
        }));
        _tokens = Owned(await TokenServer.StartAsync(Cluster, TokenServerPort, _authority, $"{User}:{Password}"));
        _registries.Add("password", Owned(await LocalRegistry.StartAsync(
            Cluster, PasswordPort, $"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd")));
        _registries.Add("token", Owned(await LocalRegistry.StartAsync(
            Cluster, TokenPort,
            $"auth:\n  token:\n    realm: http://localhost:{TokenServerPort}/token\n    service: {TokenServer.Service}\n    issuer: {TokenServer.Issuer}\n    rootcertbundle: {folder}/ca")));
        Ways.Add("password", Owned(await RegistryProxy.StartAsync(Cluster, 5010, PasswordPort)));
        Ways.Add("token", Owned(await RegistryProxy.StartAsync(Cluster, 5011, TokenPort)));
        WrongWays.Add("password", Owned(await RegistryProxy.StartAsync(Cluster, 5012, PasswordPort)));
        WrongWays.Add("token", Owned(await RegistryProxy.StartAsync(Cluster, 5013, TokenPort)));
    }

    private T Owned<T>(T part)
        where T : IAsyncDisposable
    {
        _parts.Add(part);
        return part;
    }
}
