using System.Net;
using System.Net.Sockets;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;

namespace Hypervisor.TestCluster;

/// <summary>
/// A whole cluster from the shipped binaries: a machine with the server and a node, and perhaps others with a node each. Disposing ends
/// every process it started and removes what they left.
/// </summary>
internal sealed class LocalCluster : LocalMachine
{
    public static readonly TimeSpan ReadyTimeout = TimeSpan.FromSeconds(60);

    /// <summary>Until a node knows what runs guests on it: one trial that a busy machine was too slow for, and the next one five minutes later.</summary>
    public static readonly TimeSpan GuestTrials = TimeSpan.FromMinutes(7);

    private readonly List<GrpcChannel> _channels = [];
    private GrpcChannel? _channel;

    private LocalCluster(LocalClusterOptions options)
        : base("n1", options)
    {
        Server = Inside("server", $"{Binaries}/hypervisor-server", "--config", $"{Folder}/server.yaml");
        OtherNodes = [.. options.OtherNodes.Select((node, index) => new LocalNode(this, index, options with { AgentYaml = node.AgentYaml }, node.Hostname))];
    }

    /// <summary>Where the shipped programs are; <c>make build</c> puts them there.</summary>
    public static string Binaries => $"{Repository}/bin";

    public static string Repository { get; } = FindRepository();

    public RealProcess Server { get; }

    /// <summary>With <see cref="LocalClusterOptions.OtherNodes"/>, in the same order.</summary>
    public IReadOnlyList<LocalNode> OtherNodes { get; }

    /// <summary>This one first.</summary>
    public IReadOnlyList<LocalMachine> Machines => [this, .. OtherNodes];

    /// <summary>With <see cref="LocalClusterOptions.EtcdMembers"/>.</summary>
    public EtcdCluster? Etcd { get; private set; }

    public ComputeService.ComputeServiceClient Compute => new(Channel);

    public ClusterService.ClusterServiceClient Nodes => new(Channel);

    public GrpcChannel Channel => _channel ??= OpenChannel();

    /// <summary>Starts everything and waits until the nodes are Ready with a working container runtime.</summary>
    public static async Task<LocalCluster> StartAsync(LocalClusterOptions? options = null)
    {
        var cluster = new LocalCluster(options ?? new LocalClusterOptions());
        try
        {
            foreach (var machine in cluster.Machines)
            {
                await machine.PrepareAsync();
                machine.StartRuntimes();
            }

            if (cluster.Options.EtcdMembers > 0)
            {
                await cluster.StartEtcdAsync(cluster.Options.EtcdMembers);
            }

            cluster.Server.Start();
            foreach (var machine in cluster.Machines)
            {
                machine.Agent.Start();
            }

            await cluster.NodeReadyAsync();
            return cluster;
        }
        catch (Exception exception)
        {
            var logs = cluster.Logs();
            await cluster.DisposeAsync();
            throw new InvalidOperationException($"The cluster did not start: {exception.Message}\n{logs}", exception);
        }
    }

    /// <summary>A new connection, not shared with <see cref="Compute"/>.</summary>
    public GrpcChannel OpenChannel()
    {
        var channel = GrpcChannel.ForAddress("http://server", new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler
            {
                ConnectCallback = async (_, _) => new NetworkStream(
                    await ConnectAsync(new IPEndPoint(IPAddress.Loopback, 50051)), ownsSocket: true),
            },
            DisposeHttpClient = true,
        });
        lock (_channels)
        {
            _channels.Add(channel);
        }

        return channel;
    }

    /// <summary>
    /// The machine goes off without a word and on again: every process at once, and all that lies in memory. Its kernel's own
    /// boot id stays. Other machines stay as they are, but cut off: their links lay in its memory.
    /// </summary>
    public async Task RebootAsync()
    {
        var leftovers = new Leftovers(this);
        await Agent.KillAsync();
        await Server.KillAsync();
        await (Etcd?.KillAsync() ?? Task.CompletedTask);
        await leftovers.LoseMemoryAsync();
        await MakeMemoryAsync();
        StartRuntimes();
        Etcd?.Start();
        Server.Start();
        Agent.Start();
    }

    public Task NodeReadyAsync() => RealTime.UntilAsync("the nodes are Ready and run containers", ReadyTimeout, async () =>
    {
        foreach (var process in Machines.SelectMany(machine => new[] { machine.Containerd, machine.Agent }).Prepend(Server))
        {
            if (!process.IsRunning)
            {
                throw new InvalidOperationException($"{process.Name} ended");
            }
        }

        var nodes = await Nodes.ListNodesAsync(new ListNodesRequest(), deadline: Deadline(5));
        return nodes.Nodes.Count(node => node.Status.Liveness == NodeLiveness.Ready
            && node.Status.Inventory.Runtimes.Any(runtime => runtime is { Type: InstanceType.Container, Available: true })) >= Machines.Count;
    });

    /// <summary>Packs and imports the busybox image under the name "busybox".</summary>
    public async Task ImportBusyboxAsync(string project = "")
    {
        var archive = $"{Folder}/busybox.tar";
        if (!File.Exists(archive))
        {
            await Shell.RunAsync($"{Repository}/scripts/image.sh", archive);
        }

        await ImportAsync("busybox", await File.ReadAllBytesAsync(archive), project);
    }

    public async Task ImportAsync(string name, byte[] archive, string project = "")
    {
        using var call = Compute.ImportImage(deadline: Deadline(60));
        await call.RequestStream.WriteAsync(new ImportImageRequest { Header = new ImportImageHeader { Project = project, Name = name } });
        foreach (var chunk in archive.Chunk(512 * 1024))
        {
            await call.RequestStream.WriteAsync(new ImportImageRequest { Chunk = Google.Protobuf.ByteString.CopyFrom(chunk) });
        }

        await call.RequestStream.CompleteAsync();
        await call;
    }

    /// <summary>Waits until the instance is as wished, or fails showing how it is.</summary>
    public async Task<Instance> InstanceAsync(
        string name, string wish, Func<Instance, bool> condition, double seconds = 30, string project = "")
    {
        Instance? last = null;
        try
        {
            await RealTime.UntilAsync(wish, TimeSpan.FromSeconds(seconds), async () =>
            {
                last = await Compute.GetInstanceAsync(new GetInstanceRequest { Project = project, Instance = name }, deadline: Deadline(5));
                return condition(last);
            });
        }
        catch (TimeoutException exception)
        {
            throw new TimeoutException($"{exception.Message}; {name} is {last}\n{Server.Log}\n{string.Concat(Machines.Select(machine => machine.Agent.Log))}", exception);
        }

        return last!;
    }

    /// <summary>Everything that the control plane knows is gone, and an empty one begins.</summary>
    public async Task LoseStoreAsync()
    {
        await Server.StopAsync();
        Directory.Delete($"{Folder}/server", recursive: true);
        if (Etcd is { } etcd)
        {
            await etcd.KillAsync();
            etcd.Forget();
            etcd.Start();
            await etcd.HealthyAsync();
        }

        Server.Start();
    }

    public static DateTime Deadline(double seconds) => RealTime.Clock.GetUtcNow().UtcDateTime.AddSeconds(seconds);

    public string Logs() =>
        string.Concat(Machines.SelectMany(machine => new[] { machine.Containerd, machine.Agent, machine.Libvirtd }).Prepend(Server).OfType<RealProcess>()
            .Select(process => $"── {process.Name}\n{process.Log}\n")) + Etcd?.Logs();

    /// <summary>An etcd on this cluster's machine, which the server uses from its next start on.</summary>
    public async Task StartEtcdAsync(int members)
    {
        Etcd = await EtcdCluster.StartAsync(
            new EtcdOptions { Members = members, NetworkNamespace = NetworkNamespace, Folder = $"{Folder}/etcd" });
        await File.AppendAllTextAsync($"{Folder}/server.yaml", $"\netcd:\n  endpoints: [{string.Join(", ", Etcd.Endpoints)}]\n");
    }

    public override async ValueTask DisposeAsync()
    {
        foreach (var channel in _channels)
        {
            channel.Dispose();
        }

        foreach (var node in OtherNodes)
        {
            await node.DisposeAsync();
        }

        await Agent.KillAsync();
        await Server.DisposeAsync();
        if (Etcd is not null)
        {
            await Etcd.DisposeAsync();
        }

        await base.DisposeAsync();
    }

    public override async Task PrepareAsync()
    {
        await base.PrepareAsync();
        await File.WriteAllTextAsync($"{Folder}/server.yaml", $"""
            data_dir: {Folder}/server
            heartbeat:
              interval: {Options.HeartbeatInterval.TotalMilliseconds}ms
              timeout: {Options.HeartbeatTimeout.TotalMilliseconds}ms
            {(OtherNodes.Count > 0 ? "grpc_addr: \"0.0.0.0:50051\"\ninsecure: true" : "")}
            {Options.ServerYaml}
            """);
    }

    private static string FindRepository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Hypervisor.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests run from inside the source tree.");
    }
}
