using System.Net;
using System.Net.Sockets;

namespace Hypervisor.TestCluster;

/// <summary>
/// What a machine of a test cluster has: an agent and a containerd of its own, in a network namespace and folders that exist for it alone.
/// </summary>
internal abstract class LocalMachine : IAsyncDisposable
{
    private static int _count;

    protected LocalMachine(string hostname, LocalClusterOptions options)
    {
        Id = $"hvt-{Environment.ProcessId:x}-{Interlocked.Increment(ref _count):x}";
        Hostname = hostname;
        Options = options;
        Folder = $"/tmp/{Id}";
        RunFolder = $"/run/{Id}";
        NodeFolder = options.NodeDiskBytes is null ? Folder : $"{Folder}/node";
        NetworkNamespace = $"/run/netns/{Id}";
        CgroupParent = $"/{Id}";
        ContainerdSocket = $"{RunFolder}/containerd.sock";
        Containerd = Inside("containerd", "containerd", "--config", $"{Folder}/containerd.toml", "--log-level", "warn");
        Libvirtd = options.Libvirt ? Inside("libvirtd", $"{LocalCluster.Repository}/scripts/libvirtd.sh", $"{NodeFolder}/libvirt", $"{RunFolder}/libvirt") : null;
        Agent = Inside("agent", $"{LocalCluster.Binaries}/hypervisor-agent", "--config", $"{Folder}/agent.yaml");
    }

    public string Id { get; }

    /// <summary>The node's name.</summary>
    public string Hostname { get; }

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

    public RealProcess Agent { get; }

    /// <summary>With <see cref="LocalClusterOptions.Libvirt"/>.</summary>
    public RealProcess? Libvirtd { get; }

    /// <summary>A TCP connection made on this machine.</summary>
    public Task<Socket> ConnectAsync(EndPoint endPoint) => Linux.ConnectInsideAsync(NetworkNamespace, endPoint, TimeSpan.FromSeconds(5));

    /// <summary>A program on this machine, not started yet.</summary>
    // nsenter, not `ip netns exec`: the latter gives each program a mount namespace of its own, and what the agent mounts for an
    // instance's network would be invisible to containerd.
    public RealProcess Inside(string name, string program, params string[] arguments) =>
        new(name, "nsenter", [$"--net={NetworkNamespace}", "--", program, .. arguments], $"{Folder}/{name}.log");

    /// <summary>Makes everything that its programs need before they start.</summary>
    public virtual async Task PrepareAsync()
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
        await File.WriteAllTextAsync($"{Folder}/agent.yaml", $"""
            hostname: {Hostname}
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
            {(Options.AgentYaml.Contains("guest:", StringComparison.Ordinal) ? "" : $"guest:\n  directory: {LocalCluster.Binaries}/guest")}
            {Options.AgentYaml}
            """);
    }

    public void StartRuntimes()
    {
        Containerd.Start();
        Libvirtd?.Start();
    }

    public virtual async ValueTask DisposeAsync()
    {
        await Agent.DisposeAsync();
        await new Leftovers(this).RemoveAsync();
        GC.SuppressFinalize(this);
    }

    protected async Task MakeMemoryAsync()
    {
        Directory.CreateDirectory(RunFolder);
        await Shell.RunAsync("ip", "netns", "add", Id);
        await Shell.RunAsync("ip", "-n", Id, "link", "set", "lo", "up");
    }
}
