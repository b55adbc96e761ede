using System.Net;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Logs;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Configuration;

/// <summary>Everything the agent can be told, with what it does when told nothing. See <c>configs/agent.example.yaml</c>.</summary>
internal sealed record AgentConfiguration
{
    /// <summary><c>hostname</c>: the node's name, an RFC 1123 label; by default the machine's own, without its domain.</summary>
    public string Hostname { get; init; } = "localhost";

    /// <summary><c>listen_addr</c>, or 127.0.0.1 with <c>port</c>: where the server calls this agent.</summary>
    public HostPort ListenAddress { get; init; } = new("127.0.0.1", 50052);

    /// <summary><c>advertise_addr</c>: what the server is told to call; by default the listen address, or the hostname when that is every address.</summary>
    public HostPort AdvertiseAddress { get; init; } = new("127.0.0.1", 50052);

    /// <summary><c>role</c>: a word for people and selectors.</summary>
    public string Role { get; init; } = "worker";

    /// <summary><c>region</c>: empty means unknown.</summary>
    public string Region { get; init; } = "";

    /// <summary><c>zone</c>: empty means unknown.</summary>
    public string Zone { get; init; } = "";

    /// <summary><c>labels</c>: at most 64, as in Kubernetes.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary><c>devices</c>: how many of each the machine has for instances, by name; counted, and not handed to them yet.</summary>
    public IReadOnlyDictionary<string, int> Devices { get; init; } = new Dictionary<string, int>();

    /// <summary><c>server_addr</c></summary>
    public HostPort ServerAddress { get; init; } = new("127.0.0.1", 50051);

    /// <summary><c>supported_instance_types</c>: what this node may run, of those whose driver works.</summary>
    public IReadOnlyList<InstanceType> SupportedInstanceTypes { get; init; } = [InstanceType.Vm, InstanceType.Container, InstanceType.Microvm];

    /// <summary><c>data_dir</c>: survives a reboot (identity, credential, logs).</summary>
    public string DataDirectory { get; init; } = "/var/lib/hypervisor/agent";

    /// <summary><c>run_dir</c>: does not survive a reboot (sockets, namespaces).</summary>
    public string RunDirectory { get; init; } = "/run/hypervisor";

    /// <summary><c>insecure</c>: listening on other addresses than loopback is allowed although nothing is encrypted.</summary>
    public bool Insecure { get; init; }

    /// <summary><c>libvirt.uri</c>: for the VM driver.</summary>
    public string LibvirtUri { get; init; } = "qemu:///system";

    /// <summary><c>guest.directory</c>: kernel and initramfs of guests made from OCI images.</summary>
    public string GuestDirectory { get; init; } = "/usr/lib/hypervisor/guest";

    /// <summary><c>accelerator</c>: what may run guests; whether it works is tried in any case.</summary>
    public AcceleratorChoice Accelerator { get; init; }

    /// <summary><c>qemu.binary</c>: absolute, or a name in the system's folders of programs.</summary>
    public string QemuProgram { get; init; } = "qemu-system-x86_64";

    /// <summary><c>microvm</c>, <c>firecracker</c></summary>
    public MicrovmConfiguration Microvm { get; init; } = new();

    /// <summary><c>containerd</c></summary>
    public ContainerdConfiguration Containerd { get; init; } = new();

    /// <summary><c>network</c></summary>
    public AgentNetworkConfiguration Network { get; init; } = new();

    /// <summary><c>logs.max_size</c>, <c>logs.max_files</c>: what is kept of each instance's output, where the instance does not say.</summary>
    public LogLimits Logs { get; init; } = LogLimits.Default;

    /// <summary><c>images.cache_bytes</c>: what images may take on disk before those that no instance uses are removed; 0 means without limit.</summary>
    public long ImageCacheBytes { get; init; } = 32L << 30;

    /// <summary><c>log.level</c></summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary><c>log.format</c></summary>
    public LogStyle LogFormat { get; init; } = LogStyle.Text;

    /// <summary><c>metrics_addr</c>: where /metrics is served; null means nowhere.</summary>
    public HostPort? MetricsAddress { get; init; }

    /// <summary><c>telemetry.otlp_endpoint</c>: an OTLP collector over gRPC for traces; null means nowhere.</summary>
    public Uri? OtlpEndpoint { get; init; }
}

/// <summary>The runtime behind containers.</summary>
internal sealed record ContainerdConfiguration
{
    /// <summary><c>containerd.address</c>: absolute path of its socket, at most 107 bytes.</summary>
    public string SocketPath { get; init; } = "/run/containerd/containerd.sock";

    /// <summary><c>containerd.namespace</c>: containerd's own kind of namespace; ours alone.</summary>
    public string Namespace { get; init; } = "hypervisor";

    /// <summary><c>containerd.snapshotter</c></summary>
    public string Snapshotter { get; init; } = "overlayfs";

    /// <summary><c>containerd.shim_group</c>: containers share shim processes; less memory and a faster start.</summary>
    public bool ShimGroup { get; init; } = true;

    /// <summary><c>containerd.seccomp_profile</c>: a file in Docker's format; without it only unconfined instances start.</summary>
    public string SeccompProfile { get; init; } = "/usr/share/containers/seccomp.json";

    /// <summary><c>containerd.state</c>: the <c>state</c> folder of its own configuration; what a killed shim leaves is found there.</summary>
    public string StateDirectory { get; init; } = "/run/containerd";

    /// <summary><c>containerd.foreign_architectures</c>: 32-bit x86 and x32 programs may run in containers with a seccomp profile.</summary>
    public bool ForeignArchitectures { get; init; }

    /// <summary><c>containerd.cgroup_parent</c>: the cgroup above all containers, absolute in each hierarchy.</summary>
    public string CgroupParent { get; init; } = "/hypervisor";
}

/// <summary>What starts microVMs.</summary>
internal enum MicrovmDriver
{
    /// <summary>Firecracker where it is installed and KVM works, else QEMU.</summary>
    Auto,
    Qemu,
    Firecracker,
}

/// <summary>What runs microVMs.</summary>
internal sealed record MicrovmConfiguration
{
    /// <summary><c>microvm.driver</c></summary>
    public MicrovmDriver Driver { get; init; }

    /// <summary><c>firecracker.binary</c>: absolute, or a name in the system's folders of programs; likewise <see cref="Jailer"/>.</summary>
    public string Firecracker { get; init; } = "firecracker";

    /// <summary><c>firecracker.jailer</c>: used where there is such a program.</summary>
    public string Jailer { get; init; } = "jailer";
}

/// <summary>The node's own network.</summary>
internal sealed record AgentNetworkConfiguration
{
    /// <summary><c>network.enabled</c>: off means instances have a loopback interface only.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary><c>network.bridge</c>: name of the bridge, 1-15 characters.</summary>
    public string Bridge { get; init; } = "hv0";

    /// <summary><c>network.mtu</c>: bytes of the largest packet of instances; 0 means that of the interface of the host's default route.</summary>
    public int Mtu { get; init; }

    /// <summary><c>network.dns</c>: resolvers for instances that name none, at most 3; none means the node's own.</summary>
    public IReadOnlyList<IPAddress> DnsServers { get; init; } = [];
}
