using Hypervisor.Agent.Networking;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>
/// Makes instances of one type real on this node. A driver decides nothing: the runner of an instance calls it, one call at
/// a time per instance, any number of instances at once.
/// </summary>
/// <remarks>
/// Every method is idempotent and may be repeated after a crash at any point in it. What a driver needs to know after a
/// restart of the agent (uid, epoch, name, project, generation) it keeps in the runtime itself. A call whose epoch is lower
/// than that of what is there fails with <see cref="DriverException"/>, reason <c>StaleEpoch</c>, and changes nothing.
/// </remarks>
internal interface IInstanceDriver
{
    InstanceType Type { get; }

    /// <summary>As shown on the node, for example "containerd".</summary>
    string Name { get; }

    /// <summary>Whether <see cref="LimitAsync"/> does anything; then every instance it made shows its limits.</summary>
    bool LimitsWhileRunning => false;

    /// <summary>How its instances are connected to the node's network.</summary>
    ConnectionKind Connection => ConnectionKind.Namespace;

    /// <summary>Whether it can keep what an instance's disks held at a moment; then the methods about snapshots are asked.</summary>
    bool KeepsSnapshots => false;

    /// <summary>The way into its instances; null for a driver that has none.</summary>
    IInstanceAccess? Access => null;

    /// <summary>Whether the runtime is there and works; never throws for a runtime that is not.</summary>
    Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken);

    /// <summary>Everything of ours that the runtime holds, also half-made. Throws when the runtime cannot say.</summary>
    Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken);

    /// <summary>One instance as <see cref="ListAsync"/> would show it, or null when nothing of it exists.</summary>
    Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>
    /// Prepares everything up to, but without, a running process. What is already there at the same epoch is kept, disks
    /// above all; when no process runs in it, it takes over the definition (generation, restart generation, process,
    /// limits), so that the next start is of what is asked for now.
    /// </summary>
    Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken);

    /// <summary>
    /// Starts what was created or has stopped; nothing when it runs. A start after an <see cref="DriverInstance.Exit"/> of the same
    /// restart generation counts as one more in <see cref="DriverInstance.Restarts"/>.
    /// </summary>
    Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>Signal, grace period, kill; nothing when it does not run. Keeps its disks.</summary>
    Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken);

    Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>
    /// Writes the memory of what runs to the node's disk and ends its process; nothing when it does not run. The next
    /// <see cref="StartAsync"/> goes on from there, unless <see cref="CreateAsync"/> brought another restart generation.
    /// </summary>
    /// <exception cref="DriverException">SuspendUnsupported: the runtime cannot.</exception>
    Task SuspendAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => throw new DriverException(
        "SuspendUnsupported", $"{Name} cannot write the memory of an instance to disk; stop the instance instead", permanent: true);

    /// <summary>
    /// Keeps what the disks hold now, and the memory when that is asked for. What runs is suspended for it; the next
    /// <see cref="StartAsync"/> goes on from there. Nothing when it is there already. What cannot be kept is noted
    /// (<see cref="DriverInstance.Snapshots"/>) and not tried again; what runs then runs on.
    /// </summary>
    Task SnapshotAsync(InstanceId id, Epoch epoch, SnapshotSpec snapshot, CancellationToken cancellationToken) => throw NoSnapshots();

    /// <summary>Also while it runs; nothing when there is no such snapshot.</summary>
    Task DeleteSnapshotAsync(InstanceId id, Epoch epoch, string snapshotUid, CancellationToken cancellationToken) => throw NoSnapshots();

    /// <summary>
    /// Kills what runs and puts the disks back; with the snapshot's memory it is then suspended, else stopped without an exit. Nothing
    /// when this generation was carried out. One that is impossible is noted (<see cref="DriverInstance.Restored"/>), and changes nothing.
    /// </summary>
    Task RestoreAsync(InstanceId id, Epoch epoch, RestoreSpec restore, CancellationToken cancellationToken) => throw NoSnapshots();

    /// <summary>
    /// Changes the limits of what runs; nothing when it does not run, since the next <see cref="CreateAsync"/> brings them. Only asked
    /// where <see cref="LimitsWhileRunning"/>.
    /// </summary>
    Task LimitAsync(InstanceId id, Epoch epoch, InstanceLimits limits, CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>
    /// The same copy goes on under a higher epoch: nothing else changes, a running process above all. Nothing when it has the
    /// epoch already.
    /// </summary>
    Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>Kills what runs and removes every trace; nothing when there is none.</summary>
    Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>Ids of instances whose state may have changed: a hint to look. Ends with an exception when the runtime goes away.</summary>
    IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken);

    private DriverException NoSnapshots() => new("SnapshotUnsupported", $"{Name} keeps no snapshots", permanent: true);
}

/// <summary>What the driver is asked to make.</summary>
/// <param name="ImageDigest">"sha256:..." of the image's manifest, already present on the node.</param>
/// <param name="Network">Null for an instance without a network.</param>
internal sealed record InstanceDefinition(Assignment Assignment, string ImageDigest, NetworkAttachment? Network)
{
    public InstanceId Id => new(Assignment.Uid);

    public Epoch Epoch => new(Assignment.Epoch);
}

/// <summary>What the runtime holds of one instance.</summary>
/// <param name="ProcessId">Of the main process on the host, while there is one.</param>
/// <param name="Exit">
/// Of the last run, once it ended. Null while <see cref="DriverState.Stopped"/> means that the process is gone without having
/// ended by itself (the machine was rebooted): the runner starts it again. A runtime must therefore remember exits.
/// </param>
/// <param name="Generation">The assignment's generation at the last <see cref="IInstanceDriver.CreateAsync"/> that took effect.</param>
/// <param name="Limits">In force, for a driver that can change them while it runs; else null.</param>
/// <param name="RestartGeneration">
/// The spec's restart_generation at the same moment: the run that the present, ended or next process belongs to.
/// </param>
/// <param name="MadeFrom">The assignment of the same moment; null where the runtime does not tell.</param>
internal sealed record DriverInstance(
    InstanceId Id,
    Epoch Epoch,
    string Name,
    string Project,
    long Generation,
    long RestartGeneration,
    DriverState State,
    int? ProcessId = null,
    DateTimeOffset? StartedAt = null,
    DateTimeOffset? FinishedAt = null,
    ExitStatus? Exit = null,
    InstanceLimits? Limits = null,
    Assignment? MadeFrom = null,
    RestartCount Restarts = default)
{
    /// <summary>Name of the driver that holds it.</summary>
    public string Runtime { get; init; } = "";

    /// <summary>What runs, or last ran, its instructions; unspecified where the host's own CPU does.</summary>
    public Accelerator Accelerator { get; init; }

    /// <summary>In the order in which they were asked for.</summary>
    public IReadOnlyList<DriverSnapshot> Snapshots { get; init; } = [];

    /// <summary>Null before the first one.</summary>
    public DriverRestore? Restored { get; init; }

    /// <summary>How long the last run took; zero where the runtime does not know.</summary>
    public TimeSpan Ran => StartedAt is { } start && FinishedAt is { } end && end > start ? end - start : TimeSpan.Zero;
}

/// <summary>What an instance may use of its node.</summary>
/// <param name="CpuMillicores">0 is no limit; likewise for the others.</param>
/// <param name="Pids">Processes and threads; 0 is the driver's default.</param>
internal readonly record struct InstanceLimits(long CpuMillicores, long MemoryBytes, long Pids)
{
    public static InstanceLimits Of(InstanceSpec spec) =>
        new(spec.Resources?.CpuMillicores ?? 0, spec.Resources?.MemoryBytes ?? 0, spec.Security?.PidsLimit ?? 0);

    public void ApplyTo(InstanceSpec spec)
    {
        spec.Resources ??= new();
        (spec.Resources.CpuMillicores, spec.Resources.MemoryBytes) = (CpuMillicores, MemoryBytes);
        if (spec.Security is not null || Pids != 0)
        {
            spec.Security ??= new();
            spec.Security.PidsLimit = Pids;
        }
    }
}

/// <summary>What a runtime can say of an instance.</summary>
internal enum DriverState
{
    /// <summary>Parts are missing: create again or remove.</summary>
    Partial,
    Created,
    Running,
    Paused,
    Stopped,

    /// <summary>Its memory is on disk, and no process of it is left.</summary>
    Suspended,
}

/// <param name="Signal">Signal number; 0 means the image's, else SIGTERM.</param>
/// <param name="GracePeriod">Until SIGKILL.</param>
internal readonly record struct StopPolicy(int Signal, TimeSpan GracePeriod);

/// <summary>Why a driver could not do what it was asked.</summary>
/// <param name="reason">CamelCase, shown as the instance's status.reason.</param>
/// <param name="message">A sentence for the user: what, with which value, and what to do.</param>
/// <param name="permanent">Trying again changes nothing until the user changes something.</param>
internal sealed class DriverException(string reason, string message, bool permanent, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>A reason: tried again, for there may be room soon, but shown as a failure, for only a person makes it.</summary>
    public const string DiskFull = "DiskFull";

    public string Reason { get; } = reason;

    public bool Permanent { get; } = permanent;

    public static DriverException OfFullDisk(Exception? inner) =>
        new(DiskFull, "the node's disk is full; free space there or delete instances and images", permanent: false, inner);

    /// <summary>ENOSPC, EDQUOT: .NET leaves the number of the error in HResult.</summary>
    public static bool IsFullDisk(IOException error) => error.HResult is 28 or 122;
}
