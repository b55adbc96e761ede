using Hypervisor.Protocol;

namespace Hypervisor.Agent.Guests;

/// <summary>What of a guest has to be known to get into it.</summary>
/// <param name="Config">What its init was told; null for a guest that boots itself.</param>
/// <param name="ChannelSocket">As of <see cref="Channel.GuestChannels"/>.</param>
/// <param name="MemoryBytes">Of the machine; its kernel keeps some for itself and shows the rest.</param>
internal sealed record GuestView(
    Epoch Epoch, VmmState State, GuestConfig? Config, string ChannelSocket, string ConsoleSocket, string ConsoleLog, long MemoryBytes)
{
    /// <summary>Null for a guest without a display.</summary>
    public string? VncSocket { get; init; }
}

/// <summary>Finds the guests of one driver.</summary>
internal interface IGuestDirectory
{
    /// <summary>Null when there is none.</summary>
    /// <exception cref="Drivers.DriverException">RuntimeUnavailable.</exception>
    Task<GuestView?> FindAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>What the monitor can say of a guest without an init of ours.</summary>
    Task<Hypervisor.Protocol.V1.InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken);
}
