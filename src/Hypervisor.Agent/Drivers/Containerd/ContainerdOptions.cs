using System.Net;
using Hypervisor.Agent.Logs;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>What the containerd driver has to know about its node.</summary>
internal sealed record ContainerdOptions
{
    /// <summary>Absolute path of containerd's socket, at most 107 bytes (the kernel's limit for socket addresses).</summary>
    public string SocketPath { get; init; } = "/run/containerd/containerd.sock";

    /// <summary>containerd's own kind of namespace. Everything in it is taken to be ours.</summary>
    public string Namespace { get; init; } = "hypervisor";

    public string Snapshotter { get; init; } = "overlayfs";

    /// <summary>
    /// Containers of one project share shim processes, at most <see cref="ContainerdLimits.ContainersPerShim"/> each. The death
    /// of a shim ends its containers, so sharing trades isolation of failures for memory (13 MB per shim) and start time.
    /// </summary>
    public bool ShimGroup { get; init; } = true;

    /// <summary>A seccomp profile in Docker's format. While it does not exist only unconfined instances start.</summary>
    public string SeccompProfile { get; init; } = "/usr/share/containers/seccomp.json";

    /// <summary>
    /// Whether programs of the machine's other instruction sets (32-bit x86 and x32 on x86-64) may run in confined containers.
    /// They are a second system call table for the kernel to defend, and compiling the filter for them triples its cost.
    /// </summary>
    public bool ForeignArchitectures { get; init; }

    /// <summary>The cgroup above all containers, absolute in each hierarchy.</summary>
    public string CgroupParent { get; init; } = "/hypervisor";

    /// <summary>For files bound into containers; does not survive a reboot. Only root may enter.</summary>
    public string RunDirectory { get; init; } = "/run/hypervisor/containerd";

    /// <summary>For what main processes write; survives a reboot. Only root may enter.</summary>
    public string LogDirectory { get; init; } = "/var/lib/hypervisor/agent/logs";

    /// <summary>For instances that do not say.</summary>
    public LogLimits Logs { get; init; } = LogLimits.Default;

    /// <summary>containerd's <c>state</c> directory, where what a killed containerd leaves behind is found.</summary>
    public string StateDirectory { get; init; } = "/run/containerd";

    /// <summary>Where the shims let runc keep its state; fixed in the shim unless a container says otherwise.</summary>
    public string RuncRoot { get; init; } = "/run/containerd/runc";

    /// <summary>For instances that name no resolver; none means those of the node.</summary>
    public IReadOnlyList<IPAddress> DnsServers { get; init; } = [];
}
