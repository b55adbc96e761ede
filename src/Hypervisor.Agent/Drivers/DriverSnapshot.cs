using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>A snapshot that a driver has, or could not make.</summary>
/// <param name="Wanted">As it was asked for.</param>
/// <param name="TakenAt">Null for one that could not be made.</param>
/// <param name="Reason">CamelCase, of one that could not be made or is lost; else empty.</param>
internal sealed record DriverSnapshot(SnapshotSpec Wanted, DateTimeOffset? TakenAt, string Reason = "", string Message = "")
{
    public long SizeBytes { get; init; }

    /// <summary>False for one that is still to be made, or whose making was broken off: it is to be deleted like any other.</summary>
    public bool Tried { get; init; } = true;

    /// <summary>Memory is in it.</summary>
    public bool Memory { get; init; }

    /// <summary>The guest held all writing meanwhile; else its disks are as after a power cut.</summary>
    public bool Quiesced { get; init; }
}

/// <summary>The last restore that was carried out, or that turned out to be impossible.</summary>
/// <param name="Reason">CamelCase, of one that was impossible; else empty.</param>
internal sealed record DriverRestore(long Generation, string SnapshotUid, string Reason = "", string Message = "");
