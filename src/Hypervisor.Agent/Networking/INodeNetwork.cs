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

    /// <summary>Gives an instance its namespace, interface, address and published ports, or finds what it has already.</summary>
    /// <exception cref="Drivers.DriverException">PortInUse, AddressNotOnNode, AddressesExhausted, InvalidNetwork, NetworkNotReady, StaleEpoch, NetworkError.</exception>
    Task<NetworkAttachment> AttachAsync(InstanceId id, Epoch epoch, NetworkSpec spec, CancellationToken cancellationToken);

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
    /// now. One waiter at a time. Not everything is noticed, so the periodic call stays necessary.
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

    /// <summary>Of its interface, "02:00:0a:80:00:02"; the only one it may use.</summary>
    public string HardwareAddress { get; init; } = "";

    public int Mtu { get; init; } = 1500;
}
