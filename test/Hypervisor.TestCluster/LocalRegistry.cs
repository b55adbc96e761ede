namespace Hypervisor.TestCluster;

/// <summary>Debian's docker-registry on a cluster's machine, its storage below the cluster's folder.</summary>
internal sealed class LocalRegistry : IAsyncDisposable
{
    private readonly LocalCluster _cluster;
    private readonly RealProcess _process;

    private LocalRegistry(LocalCluster cluster, RealProcess process, int port)
    {
        _cluster = cluster;
        _process = process;
        Name = $"localhost:{port}";
    }

    /// <summary>As in image names.</summary>
    public string Name { get; }

    public string Log => _process.Log;

    /// <param name="auth">Its configuration's section, with the indentation of a top-level key; empty for everyone.</param>
    /// <param name="tls">Below "http:".</param>
    public static async Task<LocalRegistry> StartAsync(LocalCluster cluster, int port, string auth = "", string tls = "")
    {
        var folder = $"{cluster.Folder}/registry-{port}";
        Directory.CreateDirectory(folder);
        await File.WriteAllTextAsync($"{folder}/config.yml", $$"""
            version: 0.1
            log:
              level: warn
              accesslog:
                disabled: true
            storage:
              filesystem:
                rootdirectory: {{folder}}/storage
            http:
              addr: 127.0.0.1:{{port}}
            {{tls}}
            {{auth}}
            """);
        var process = cluster.Inside($"registry-{port}", "docker-registry", "serve", $"{folder}/config.yml");
        var registry = new LocalRegistry(cluster, process, port);
        process.Start();
        try
        {
            await RealTime.UntilAsync($"registry {port} listens", TimeSpan.FromSeconds(30), async () =>
            {
                if (!process.IsRunning)
                {
                    throw new InvalidOperationException($"docker-registry ended: {process.Log}");
                }

                try
                {
                    using var socket = await cluster.ConnectAsync(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, port));
                    return true;
                }
                catch (System.Net.Sockets.SocketException)
                {
                    return false;
                }
            });
            return registry;
        }
        catch
        {
            await process.DisposeAsync();
            throw;
        }
    }

    /// <summary>Pushes with skopeo.</summary>
    /// <param name="from">In skopeo's words: "oci-archive:FILE".</param>
    /// <param name="credentials">"user:password"; empty for none.</param>
    public async Task PushAsync(string from, string repositoryAndTag, string credentials = "")
    {
        string[] login = credentials.Length > 0 ? ["--dest-creds", credentials] : [];
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "nsenter",
            [$"--net={_cluster.NetworkNamespace}", "--", "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", .. login, from, $"docker://{Name}/{repositoryAndTag}"],
            TimeSpan.FromMinutes(5));
        if (exitCode != 0)
        {
            throw new InvalidOperationException($"skopeo ended with {exitCode}: {error}{output}\n{Log}");
        }
    }

    /// <summary>It is gone.</summary>
    public Task KillAsync() => _process.KillAsync();

    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
