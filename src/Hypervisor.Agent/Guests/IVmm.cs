using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>One virtual machine monitor: runs machines, and knows nothing of images, epochs or policies.</summary>
/// <remarks>
/// Called by <c>GuestDriver</c> only, one call at a time per guest. Every method is idempotent. What cannot be done is a
/// <see cref="DriverException"/>; a VMM that does not answer throws (reason RuntimeUnavailable) and never says that nothing is there.
/// Every wait has a deadline.
/// </remarks>
internal interface IVmm
{
    InstanceType Type { get; }

    /// <summary>As shown on the node: "libvirt", "qemu", "firecracker".</summary>
    string Name { get; }

    VmmAbilities Abilities { get; }

    /// <summary>
    /// The guest's vsock port behind <see cref="GuestMachine.ChannelSocket"/>: each connection begins with <see cref="VsockHandshake"/>.
    /// Null where the socket is the channel itself.
    /// </summary>
    int? ChannelPort => null;

    /// <summary><see cref="ChannelPort"/> of what runs this guest, which need not be what would start one now.</summary>
    Task<int?> ChannelPortAsync(InstanceId id, CancellationToken cancellationToken) => Task.FromResult(ChannelPort);

    /// <summary>What every kernel that is started directly is told in its machines.</summary>
    /// <param name="tscKiloHertz">As of <see cref="Boot.KernelCommandLine"/>; null with KVM.</param>
    string KernelArguments(long? tscKiloHertz) =>
        Type == InstanceType.Vm ? KernelCommandLine.OfPc(tscKiloHertz) : KernelCommandLine.OfMicrovm(tscKiloHertz);

    /// <summary>Whether it is there and works; never throws for one that is not.</summary>
    Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken);

    /// <summary>Every guest of ours of which it holds anything: a process, a domain, a socket.</summary>
    Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken);

    /// <summary>One guest as <see cref="ListAsync"/> would show it, or null.</summary>
    Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Starts the machine, or goes on with <see cref="GuestMachine.RestoreFrom"/>; nothing when it runs. What an attempt that failed left is removed.</summary>
    Task StartAsync(GuestMachine machine, CancellationToken cancellationToken);

    /// <summary>Asks the guest to power off (ACPI, or what the VMM has); answers at once.</summary>
    Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Ends the machine at once; answers when no process of it is left.</summary>
    Task KillAsync(InstanceId id, CancellationToken cancellationToken);

    Task PauseAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Nothing when it runs.</summary>
    Task ResumeAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Writes memory and device state of a paused machine to a file that is whole and synced when this answers. It stays paused.</summary>
    Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken);

    /// <summary>Through QEMU's guest agent: everything is on the disks, and stays so until <see cref="ThawAsync"/>.</summary>
    /// <returns>False when no agent in the guest did it; it may be frozen all the same.</returns>
    /// <exception cref="DriverException">The VMM does not answer.</exception>
    Task<bool> FreezeAsync(InstanceId id, CancellationToken cancellationToken) => Task.FromResult(false);

    /// <summary>Nothing when it is not frozen.</summary>
    /// <exception cref="DriverException">The VMM, or the guest's agent, does not answer.</exception>
    Task ThawAsync(InstanceId id, CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>One sample: CPU time, memory, block and network counters where it has them.</summary>
    Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Removes every trace of a machine that does not run: definition, sockets, cgroup, NVRAM.</summary>
    Task RemoveAsync(InstanceId id, CancellationToken cancellationToken);

    /// <summary>Guests whose state may have changed: a hint to look. Ends with an exception when the VMM goes away.</summary>
    IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken);
}

/// <summary>What a VMM can do beyond starting and stopping.</summary>
[Flags]
internal enum VmmAbilities
{
    None = 0,

    /// <summary>Boots disks with a firmware of their own.</summary>
    FirmwareBoot = 1,

    /// <summary>Writes memory to a file and goes on from it.</summary>
    MemorySnapshots = 2,

    /// <summary>Uses qcow2; without it every disk has to be raw.</summary>
    Qcow2 = 4,

    /// <summary>Output of the main process goes to files of its own.</summary>
    OutputFiles = 8,

    /// <summary>A display, reached over <see cref="GuestMachine.VncSocket"/>.</summary>
    Vnc = 16,

    /// <summary>Has a channel for QEMU's guest agent (<see cref="GuestMachine.GuestAgentSocket"/>).</summary>
    GuestAgent = 32,

    /// <summary>
    /// No <see cref="GuestMachine.ConsoleSocket"/>: what the serial console writes is followed in <see cref="GuestMachine.ConsoleLog"/>, what
    /// it reads is written to <see cref="GuestMachine.ConsoleInput"/>.
    /// </summary>
    ConsoleFiles = 64,

    /// <summary>Memory in a file, which several machines may go on from: <see cref="GuestMachine.Memory"/>.</summary>
    SharedMemory = 128,
}

internal enum VmmState
{
    /// <summary>Something of it is left, but no machine that runs.</summary>
    Stopped,
    Running,
    Paused,
}

/// <param name="ProcessId">Of the VMM's process, while there is one.</param>
/// <param name="StartedAt">Of that process.</param>
internal sealed record VmmGuest(InstanceId Id, VmmState State, int? ProcessId = null, DateTimeOffset? StartedAt = null)
{
    /// <summary>Of one that is <see cref="VmmState.Stopped"/>: it powered itself off. False also where the VMM cannot tell.</summary>
    public bool PoweredOff { get; init; }

    /// <summary>Of one that is <see cref="VmmState.Paused"/>: its VMM stopped it, for a disk of it could not grow. Going on means to try again.</summary>
    public bool NoRoom { get; init; }
}

/// <summary>A machine to be started. All paths are absolute; files and folders exist, sockets are made by the VMM.</summary>
/// <param name="MadeFrom">For what a VMM renders of the specification (firmware, CPU model, topology).</param>
/// <param name="Accelerator">Never unspecified: what the node found to work, or the instance asked for.</param>
internal sealed record GuestMachine(InstanceId Id, Epoch Epoch, Assignment MadeFrom, Accelerator Accelerator)
{
    public const string ConsoleName = "console";

    public const string ChannelName = "channel";

    public const string VncName = "vnc";

    /// <summary>Whole virtual CPUs; the limit in millicores is held by the cgroup.</summary>
    public required int VirtualCpus { get; init; }

    public required InstanceLimits Limits { get; init; }

    /// <summary>Null for a guest that boots from its first disk.</summary>
    public DirectBoot? Boot { get; init; }

    /// <summary>In the guest's order: /dev/vda first.</summary>
    public required IReadOnlyList<GuestDisk> Disks { get; init; }

    /// <summary>Null without a network.</summary>
    public GuestNic? Nic { get; init; }

    /// <summary>Where the VMM keeps its sockets and its pid: a folder of this guest alone that does not survive a reboot. Short: socket paths end at 107 bytes.</summary>
    public required string RunDirectory { get; init; }

    /// <summary>Everything that was written to the serial console, appended to by the VMM.</summary>
    public required string ConsoleLog { get; init; }

    /// <summary>The main process's standard output and error, appended to by a VMM with <see cref="VmmAbilities.OutputFiles"/>; null for a guest without our init.</summary>
    public (string Output, string Error)? OutputFiles { get; init; }

    /// <summary>A file of <see cref="IVmm.SaveAsync"/> to go on from; the machine is then otherwise the same as the one that was saved.</summary>
    public string? RestoreFrom { get; init; }

    /// <summary>Where its memory lies; null for memory of its own. One that is not private is left out of what <see cref="IVmm.SaveAsync"/> writes.</summary>
    public GuestMemoryFile? Memory { get; init; }

    /// <summary>Leave it paused after it was restored.</summary>
    public bool StayPaused { get; init; }

    /// <summary>Serial console: a stream socket that the VMM listens on; one client at a time.</summary>
    public string ConsoleSocket => Path.Combine(RunDirectory, ConsoleName);

    /// <summary>A named pipe of a VMM with <see cref="VmmAbilities.ConsoleFiles"/>.</summary>
    public string ConsoleInput => Path.Combine(RunDirectory, "console.in");

    /// <summary>The init's control channel: a stream socket that the VMM listens on; for a guest with our init.</summary>
    public string ChannelSocket => Path.Combine(RunDirectory, ChannelName);

    public string VncSocket => Path.Combine(RunDirectory, VncName);

    public string GuestAgentSocket => Path.Combine(RunDirectory, "agent");
}

/// <param name="CommandLine">Of the kernel; each argument is made by us, none by a user.</param>
internal sealed record DirectBoot(string Kernel, string Initramfs, string CommandLine);

/// <param name="Path">A file as large as the memory.</param>
/// <param name="IsPrivate">It is read, and shared with all others that read it; what the guest writes is its own and not in the file.</param>
internal sealed record GuestMemoryFile(string Path, bool IsPrivate);

internal enum DiskFormat
{
    Raw = 1,
    Qcow2 = 2,
}

/// <param name="Name">As in the specification ("root"), or "config" and "seed" for ours; also its serial number in the guest, at most 20 characters.</param>
internal sealed record GuestDisk(string Name, string Path, DiskFormat Format, bool ReadOnly = false, bool CdRom = false)
{
    /// <summary>Null without a limit.</summary>
    public IoRate? Rate { get; init; }
}

/// <param name="Tap">Name of an interface that exists and is on the bridge.</param>
/// <param name="HardwareAddress">"02:00:0a:80:00:02".</param>
internal sealed record GuestNic(string Tap, string HardwareAddress, int Mtu);
