using System.Net;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Networking;

/// <summary>The node's own network: bridge, addresses, translation, published ports. All methods are idempotent.</summary>
/// <remarks>One call at a time per instance, any number of instances at once.</remarks>
internal interface INodeNetwork
{
    /// <summary>
    /// Makes the kernel match: bridge, addressing, forwarding, base rules, and everything attached so far. Called at start,
    /// periodically and when the kernel reports that something of ours changed; rebuilds only what is missing.
    /// </summary>
    Task EnsureAsync(IPNetwork subnet, CancellationToken cancellationToken);

    /// <summary>Gives an instance its namespace or tap, its address and published ports, or finds what it has already.</summary>
    /// <param name="hostname">What a guest with a tap that asks is told; left out when it is no RFC 1123 label.</param>
    /// <exception cref="Drivers.DriverException">PortInUse, AddressNotOnNode, AddressesExhausted, InvalidNetwork, NetworkNotReady, StaleEpoch, NetworkError.</exception>
    Task<NetworkAttachment> AttachAsync(
        InstanceId id, Epoch epoch, NetworkSpec spec, ConnectionKind kind, string hostname, CancellationToken cancellationToken);

    /// <summary>Removes everything that <see cref="AttachAsync"/> made for it up to this epoch; nothing when there is none.</summary>
    /// <exception cref="Drivers.DriverException">StaleEpoch when it is attached under a higher one; NetworkError.</exception>
    Task DetachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>Every instance that has anything here.</summary>
    Task<IReadOnlyList<InstanceId>> ListAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Removes the whole network, instances' connections included, and puts the host's settings back as they were found.
    /// For a node that leaves; an agent that merely stops leaves everything in place.
    /// </summary>
    Task TearDownAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>
    /// Completes once something of ours may have broken since the last completion: a hint to call <see cref="EnsureAsync"/>
    /// now. One waiter at a time. Not everything is noticed, so the periodic call stays necessary. A tap that was deleted while a
    /// machine had it open is among what broke: it is made anew, but the machine holds the old one and has no network until its
    /// VMM is started again. <see cref="NetworkAttachment.TapIndex"/> tells: it is another one then.
    /// </summary>
    Task WaitForChangeAsync(CancellationToken cancellationToken) => new Signal().WaitAsync(cancellationToken);
}

internal enum ConnectionKind
{
    /// <summary>A network namespace with one end of a veth pair.</summary>
    Namespace,

    /// <summary>A tap on the bridge, for a machine.</summary>
    Tap,
}

/// <summary>How an instance is connected.</summary>
/// <param name="NamespacePath">Path of its network namespace; empty for one with a tap.</param>
internal sealed record NetworkAttachment(string NamespacePath, IPAddress Address, int PrefixLength, IPAddress Gateway)
{
    /// <summary>Name of the tap in the host's namespace, for a machine; empty for a container.</summary>
    public string Tap { get; init; } = "";

    /// <summary>The kernel's number of the tap; 0 for a container. A tap that was deleted and made anew has another.</summary>
    public int TapIndex { get; init; }

    /// <summary>Of its interface, "02:68:0a:80:00:02"; the only one it may use.</summary>
    public string HardwareAddress { get; init; } = "";

    public int Mtu { get; init; } = NetworkLimits.EthernetMtu;

    /// <summary>Why a guest that asks for its address (DHCP) gets no answer, as a sentence; empty when it gets one. One that is told its address needs none.</summary>
    public string DhcpProblem { get; init; } = "";
}
