using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>Makes the disks of a guest.</summary>
internal interface IGuestDisks
{
    /// <summary>
    /// Every disk of a guest but its config drive, in the guest's order and as the VMM can use it; one that is there already is kept. Whole
    /// when it answers.
    /// </summary>
    /// <param name="folder">Of this guest; it exists.</param>
    /// <exception cref="DriverException">DiskFull, DiskUnsupported.</exception>
    Task<IReadOnlyList<GuestDisk>> EnsureAsync(
        string folder, InstanceDefinition definition, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken);

    /// <summary>Removes all of them; nothing when there are none.</summary>
    void Remove(string folder);

    /// <summary>The same disks as files that the guest goes on with: another file each after a snapshot or a restore.</summary>
    IReadOnlyList<GuestDisk> Present(string folder, IReadOnlyList<GuestDisk> disks);

    /// <summary>Keeps what all disks hold now; nothing when that was done. The guest does not run.</summary>
    /// <returns>Bytes that nothing else needs.</returns>
    Task<long> SnapshotAsync(string folder, string snapshot, CancellationToken cancellationToken);

    /// <summary>Also while the guest runs; nothing when there is none.</summary>
    void DeleteSnapshot(string folder, string snapshot);

    /// <summary>The guest does not run.</summary>
    /// <exception cref="DriverException">SnapshotNotFound, DiskFull.</exception>
    Task RestoreAsync(string folder, string snapshot, CancellationToken cancellationToken);

    /// <summary>Gives a guest without disks copies of another's, before <see cref="EnsureAsync"/>. To be repeated until it is done.</summary>
    /// <param name="snapshot">Empty for the disks as they are.</param>
    /// <exception cref="DriverException">SnapshotNotFound, CloneImageChanged, DiskFull.</exception>
    Task CloneAsync(string source, string snapshot, string folder, GuestImage image, CancellationToken cancellationToken);
}

/// <summary>The drive that tells a guest with our init what it is to run, and tells us how that ended.</summary>
internal interface IConfigDrives
{
    /// <summary>Replaces what is there; nothing has the drive open.</summary>
    void Write(string path, GuestConfig config);

    /// <summary>Null when that run left none.</summary>
    NotedExit? ReadExit(string path, long run);
}

/// <summary>The agent's word with the init of a guest.</summary>
internal interface IGuestContact
{
    /// <summary>Answers once the init has answered; waits for as long as it is let.</summary>
    Task ReachAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken);

    /// <summary>Sends a signal to the main process.</summary>
    /// <exception cref="DriverException">The init does not answer.</exception>
    Task SignalAsync(InstanceId id, string channelSocket, int signal, CancellationToken cancellationToken);

    /// <summary>Whether the init waits to be told who it is.</summary>
    /// <exception cref="DriverException">The init does not answer.</exception>
    Task<bool> HoldsAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken);

    /// <summary>Tells an init that waits who it is: time and randomness first, its entry point last.</summary>
    /// <exception cref="DriverException">The init does not answer, or does not wait.</exception>
    Task BeginAsync(InstanceId id, string channelSocket, GuestConfig config, CancellationToken cancellationToken);

    /// <summary>
    /// Has everything written to the root disk and all writing held until <see cref="RefreshAsync"/>, for at most
    /// <see cref="GuestLimits.Frozen"/> of the guest's own time.
    /// </summary>
    /// <exception cref="DriverException">The init does not answer, or its file system cannot be frozen.</exception>
    Task FreezeAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken);

    /// <summary>Gives a guest that goes on new randomness and the present time, and lets it write again.</summary>
    /// <exception cref="DriverException">The init does not answer.</exception>
    Task RefreshAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken);

    /// <summary>The guest does not run any more, or another run of it begins.</summary>
    void Forget(InstanceId id);
}

/// <summary>What runs the instructions of guests on this node.</summary>
internal interface IAccelerators
{
    /// <summary>What was found last; null until then.</summary>
    AcceleratorFinding? Known { get; }

    /// <summary>What was found to work; found out on the first call, and when something changed that it depends on.</summary>
    Task<AcceleratorFinding> FindAsync(CancellationToken cancellationToken);

    /// <summary>What an emulated guest's kernel is told of its time stamp counter; null where there is nothing to tell.</summary>
    Task<long?> CounterRateAsync(CancellationToken cancellationToken);
}

/// <param name="Accelerator">NONE where no guest runs.</param>
/// <param name="Message">Why not KVM, or why none; empty when there is nothing to say.</param>
internal sealed record AcceleratorFinding(Accelerator Accelerator, string Message);
