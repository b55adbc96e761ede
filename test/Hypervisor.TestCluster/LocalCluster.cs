using System.Net;
using System.Net.Sockets;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;

namespace Hypervisor.TestCluster;

/// <summary>
/// A whole cluster of one machine from the shipped binaries: server, agent and a containerd of its own, in a network namespace
/// and folders that exist for it alone. Disposing ends every process it started and removes what they left.
/// </summary>
internal sealed class LocalCluster : IAsyncDisposable
{
    public static readonly TimeSpan ReadyTimeout = TimeSpan.FromSeconds(60);

    /// <summary>Until a node knows what runs guests on it: one trial that a busy machine was too slow for, and the next one five minutes later.</summary>
    public static readonly TimeSpan GuestTrials = TimeSpan.FromMinutes(7);

    private readonly List<GrpcChannel> _channels = [];
    private GrpcChannel? _channel;

    private LocalCluster(string id, LocalClusterOptions options)
    {
        Id = id;
        Options = options;
        Folder = $"/tmp/{id}";
        RunFolder = $"/run/{id}";
        NodeFolder = options.NodeDiskBytes is null ? Folder : $"{Folder}/node";
        NetworkNamespace = $"/run/netns/{id}";
        CgroupParent = $"/{id}";
        ContainerdSocket = $"{RunFolder}/containerd.sock";
        Containerd = Inside("containerd", "containerd", "--config", $"{Folder}/containerd.toml", "--log-level", "warn");
        Libvirtd = options.Libvirt ? Inside("libvirtd", $"{Repository}/scripts/libvirtd.sh", $"{NodeFolder}/libvirt", $"{RunFolder}/libvirt") : null;
        Server = Inside("server", $"{Binaries}/hypervisor-server", "--config", $"{Folder}/server.yaml");
        Agent = Inside("agent", $"{Binaries}/hypervisor-agent", "--config", $"{Folder}/agent.yaml");
    }

    /// <summary>Where the shipped programs are; <c>make build</c> puts them there.</summary>
    public static string Binaries => $"{Repository}/bin";

    public static string Repository { get; } = FindRepository();

    public string Id { get; }

    public LocalClusterOptions Options { get; }

    public string Folder { get; }

    public string RunFolder { get; }

    /// <summary>What survives a reboot of containerd and the agent; a file system of its own where its size is limited.</summary>
    public string NodeFolder { get; }

    public string NetworkNamespace { get; }

    /// <summary>containerd's kind of namespace: runc keeps its records by it, in a folder that all containerds of a machine share.</summary>
    public string ContainerdNamespace => Id;

    public string CgroupParent { get; }

    public string ContainerdSocket { get; }

    public RealProcess Containerd { get; }

    public RealProcess Server { get; }

    public RealProcess Agent { get; }

    /// <summary>With <see cref="LocalClusterOptions.Libvirt"/>.</summary>
    public RealProcess? Libvirtd { get; }

    /// <summary>With <see cref="LocalClusterOptions.EtcdMembers"/>.</summary>
    public EtcdCluster? Etcd { get; private set; }

    public ComputeService.ComputeServiceClient Compute => new(Channel);

    public ClusterService.ClusterServiceClient Nodes => new(Channel);

    public GrpcChannel Channel => _channel ??= OpenChannel();

    /// <summary>Starts everything and waits until the node is Ready with a working container runtime.</summary>
    public static async Task<LocalCluster> StartAsync(LocalClusterOptions? options = null)
    {
        var id = $"hvt-{Environment.ProcessId:x}-{Interlocked.Increment(ref _count):x}";
        var cluster = new LocalCluster(id, options ?? new LocalClusterOptions());
        try
        {
            await cluster.PrepareAsync();
            cluster.Containerd.Start();
            cluster.Libvirtd?.Start();
            if (cluster.Options.EtcdMembers > 0)
            {
                await cluster.StartEtcdAsync(cluster.Options.EtcdMembers);
            }

            cluster.Server.Start();
            cluster.Agent.Start();
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

    /// <summary>A TCP connection made on the cluster's machine.</summary>
    public Task<Socket> ConnectAsync(EndPoint endPoint) => Linux.ConnectInsideAsync(NetworkNamespace, endPoint, TimeSpan.FromSeconds(5));

    /// <summary>
    /// The machine goes off without a word and on again: every process at once, and all that lies in memory. Its kernel's own
    /// boot id stays.
    /// </summary>
    public async Task RebootAsync()
    {
        var leftovers = new Leftovers(this);
        await Agent.KillAsync();
        await Server.KillAsync();
        await (Etcd?.KillAsync() ?? Task.CompletedTask);
        await leftovers.LoseMemoryAsync();
        await MakeMemoryAsync();
        Containerd.Start();
        Libvirtd?.Start();
        Etcd?.Start();
        Server.Start();
        Agent.Start();
    }

    public Task NodeReadyAsync() => RealTime.UntilAsync("the node is Ready and runs containers", ReadyTimeout, async () =>
    {
        foreach (var process in new[] { Containerd, Server, Agent })
        {
            if (!process.IsRunning)
            {
                throw new InvalidOperationException($"{process.Name} ended");
            }
        }

        var nodes = await Nodes.ListNodesAsync(new ListNodesRequest(), deadline: Deadline(5));
        return nodes.Nodes.Any(node => node.Status.Liveness == NodeLiveness.Ready
            && node.Status.Inventory.Runtimes.Any(runtime => runtime is { Type: InstanceType.Container, Available: true }));
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
            throw new TimeoutException($"{exception.Message}; {name} is {last}\n{Server.Log}\n{Agent.Log}", exception);
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
        string.Concat(new[] { Containerd, Server, Agent, Libvirtd }.OfType<RealProcess>().Select(process => $"── {process.Name}\n{process.Log}\n")) + Etcd?.Logs();

    /// <summary>An etcd on this cluster's machine, which the server uses from its next start on.</summary>
    public async Task StartEtcdAsync(int members)
    {
        Etcd = await EtcdCluster.StartAsync(
            new EtcdOptions { Members = members, NetworkNamespace = NetworkNamespace, Folder = $"{Folder}/etcd" });
        await File.AppendAllTextAsync($"{Folder}/server.yaml", $"\netcd:\n  endpoints: [{string.Join(", ", Etcd.Endpoints)}]\n");
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var channel in _channels)
        {
            channel.Dispose();
        }

        await Agent.DisposeAsync();
        await Server.DisposeAsync();
        if (Etcd is not null)
        {
            await Etcd.DisposeAsync();
        }

        await new Leftovers(this).RemoveAsync();
    }

    private static int _count;

    private static string FindRepository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Hypervisor.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests run from inside the source tree.");
    }

    /// <summary>A program on the cluster's machine, not started yet.</summary>
    // nsenter, not `ip netns exec`: the latter gives each program a mount namespace of its own, and what the agent mounts for an
    // instance's network would be invisible to containerd.
    public RealProcess Inside(string name, string program, params string[] arguments) =>
        new(name, "nsenter", [$"--net={NetworkNamespace}", "--", program, .. arguments], $"{Folder}/{name}.log");

    private async Task MakeMemoryAsync()
    {
        Directory.CreateDirectory(RunFolder);
        await Shell.RunAsync("ip", "netns", "add", Id);
        await Shell.RunAsync("ip", "-n", Id, "link", "set", "lo", "up");
    }

    private async Task PrepareAsync()
    {
        Directory.CreateDirectory(NodeFolder);
        if (Options.NodeDiskBytes is { } bytes)
        {
            // Not tmpfs: there a folder takes no block, and a full one still has room for most of what a start makes.
            using (var file = File.Create($"{Folder}/node.img"))
            {
                file.SetLength(bytes);
            }

            await Shell.RunAsync("mkfs.ext4", "-q", "-F", "-m", "0", $"{Folder}/node.img");
            await Shell.RunAsync("mount", "-o", "loop", $"{Folder}/node.img", NodeFolder);
        }

        await MakeMemoryAsync();
        await File.WriteAllTextAsync($"{Folder}/containerd.toml", $"""
            version = 2
            root = "{NodeFolder}/containerd"
            state = "{RunFolder}/containerd"
            disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
              "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing",
              "io.containerd.tracing.processor.v1.otlp"]
            [grpc]
              address = "{ContainerdSocket}"
            [plugins."io.containerd.internal.v1.opt"]
              path = "{Folder}/opt"
            """);
        await File.WriteAllTextAsync($"{Folder}/server.yaml", $"""
            data_dir: {Folder}/server
            heartbeat:
              interval: {Options.HeartbeatInterval.TotalMilliseconds}ms
              timeout: {Options.HeartbeatTimeout.TotalMilliseconds}ms
            {Options.ServerYaml}
            """);
        await File.WriteAllTextAsync($"{Folder}/agent.yaml", $"""
            hostname: n1
            data_dir: {NodeFolder}/agent
            run_dir: {RunFolder}/agent
            containerd:
              address: {ContainerdSocket}
              namespace: {ContainerdNamespace}
              state: {RunFolder}/containerd
              cgroup_parent: {CgroupParent}
              shim_group: {(Options.ShimGroup ? "true" : "false")}
            {(Options.ForeignArchitectures is { } foreign ? $"  foreign_architectures: {(foreign ? "true" : "false")}" : "")}
            {(Options.Libvirt ? $"libvirt:\n  uri: \"qemu:///system?socket={RunFolder}/libvirt/libvirt-sock\"" : "")}
            {(Options.AgentYaml.Contains("guest:", StringComparison.Ordinal) ? "" : $"guest:\n  directory: {Binaries}/guest")}
            {Options.AgentYaml}
            """);
    }
}

/// <summary>What differs between test clusters.</summary>
internal sealed record LocalClusterOptions
{
    /// <summary>The store of every cluster whose test does not choose one itself.</summary>
    public const string StoreVariable = "HYPERVISOR_TEST_STORE";

    public bool ShimGroup { get; init; } = true;

    /// <summary>0 is the embedded store, which is the default unless <see cref="StoreVariable"/> says "etcd": then it is 3.</summary>
    public int EtcdMembers { get; init; } = Environment.GetEnvironmentVariable(StoreVariable) switch
    {
        null or "" or "embedded" => 0,
        "etcd" => 3,
        var other => throw new InvalidOperationException($"{StoreVariable}={other}: write embedded or etcd"),
    };

    /// <summary>With a libvirtd, which VMs need.</summary>
    public bool Libvirt { get; init; }

    /// <summary>Of the file system under containerd and the agent; null is that of the machine.</summary>
    public long? NodeDiskBytes { get; init; }

    /// <summary>Null is the agent's own default.</summary>
    public bool? ForeignArchitectures { get; init; }

    /// <summary>More of the agent's configuration.</summary>
    public string AgentYaml { get; init; } = "";

    /// <summary>More of the server's configuration.</summary>
    public string ServerYaml { get; init; } = "";

    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(3);
}
