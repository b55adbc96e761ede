using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>What the driver knows of one guest, whatever becomes of the agent, the VMM and the machine.</summary>
internal sealed record GuestRecord
{
    /// <summary>As of the last create that took effect; its epoch may be lower than <see cref="Epoch"/>.</summary>
    public required Assignment Assignment { get; init; }

    public required Epoch Epoch { get; init; }

    public required string ImageDigest { get; init; }

    /// <summary>False until every disk is there: what lies in its folder may be of an attempt that did not finish.</summary>
    public bool Made { get; init; }

    /// <summary>In the guest's order.</summary>
    public IReadOnlyList<GuestDisk> Disks { get; init; } = [];

    public GuestNic? Nic { get; init; }

    /// <summary>What the init is told, but for the run; null for a guest without our init.</summary>
    public GuestConfig? Config { get; init; }

    /// <summary>Of a kernel set; null for our own kernel, and for a guest that boots itself.</summary>
    public KernelFiles? Kernel { get; init; }

    /// <summary>The image's, for a stop that names none; 0 where it names none either.</summary>
    public int StopSignal { get; init; }

    /// <summary>Of the present or last run; grows with each start and is never used twice.</summary>
    public long Run { get; init; }

    public RestartCount Restarts { get; init; }

    /// <summary>Runs in a row that were short and left no exit status.</summary>
    public int Crashes { get; init; }

    /// <summary>Of the present or last run; null before the first one that is wanted.</summary>
    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>Null while a run is under way, as far as is known.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Of the last run; null when it vanished.</summary>
    public NotedExit? Exit { get; init; }

    /// <summary>That ran, or last ran, its instructions.</summary>
    public Accelerator Accelerator { get; init; }

    /// <summary>Under which boot of the host the run was started: one that a reboot ended did not crash.</summary>
    public string BootId { get; init; } = "";

    /// <summary>The highest run there ever was: more than <see cref="Run"/> once a snapshot took it back to an earlier one.</summary>
    public long LastRun { get; init; }

    /// <summary>In the order in which they were asked for.</summary>
    public IReadOnlyList<NotedSnapshot> Snapshots { get; init; } = [];

    /// <summary>The last restore that was carried out or found to be impossible.</summary>
    public DriverRestore? Restored { get; init; }

    /// <summary>Its memory is in the guest's folder, and the next start goes on from there.</summary>
    public bool Suspended { get; init; }

    /// <summary>It is suspended for a snapshot only, and goes on before anything else becomes of it.</summary>
    public bool Interrupted { get; init; }

    /// <summary>Since when the guest's own agent may be holding all writing; null when it does not. Nobody but us lets it go on.</summary>
    public DateTimeOffset? FrozenAt { get; init; }

    /// <summary>Its present run was begun and its entry point was not, as far as is known: it waits, or makes a template (warm starts).</summary>
    public bool Held { get; init; }

    public InstanceId Id => new(Assignment.Uid);

    /// <summary>A run was begun and its end was not noted.</summary>
    public bool IsUnderWay => StartedAt is not null && FinishedAt is null;

    public TimeSpan Ran => StartedAt is { } start && FinishedAt is { } end && end > start ? end - start : TimeSpan.Zero;
}

internal sealed record KernelFiles(string Kernel, string Initramfs);

/// <summary>A snapshot as its guest's record has it.</summary>
internal sealed record NotedSnapshot(SnapshotSpec Wanted)
{
    /// <summary>False while it is being made: what there is of it may be of an attempt that did not finish.</summary>
    public bool Done { get; init; }

    public DateTimeOffset? TakenAt { get; init; }

    /// <summary>Of one that could not be made, or is lost.</summary>
    public string Reason { get; init; } = "";

    public string Message { get; init; } = "";

    public long SizeBytes { get; init; }

    public bool Memory { get; init; }

    /// <summary>Taken while the guest held all writing; else the disks are as after a power cut.</summary>
    public bool Quiesced { get; init; }

    public bool IsUsable => Done && Reason.Length == 0;

    public DriverSnapshot ToDriver() => new(Wanted, TakenAt, Reason, Message) { SizeBytes = SizeBytes, Memory = Memory, Quiesced = Quiesced, Tried = Done };
}

/// <summary>How a run ended.</summary>
internal sealed record NotedExit(int Code, int Signal = 0, bool OutOfMemory = false)
{
    private const int SigKill = 9;

    public static NotedExit Killed { get; } = new(128 + SigKill, SigKill);

    /// <summary>Why the entry point was not started; empty when it was.</summary>
    public string Reason { get; init; } = "";

    public string Message { get; init; } = "";

    public ExitStatus ToStatus() => new() { Code = Code, Signal = Signal, OutOfMemory = OutOfMemory };
}
