using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Guests.Warm;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Networking;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>What a guest is made of and started with, as pure functions of what is wanted.</summary>
internal static class GuestPlan
{
    /// <summary>A panic resets the machine, which ends it: there is nobody to look at it.</summary>

    /// <summary>The record of a guest about to be made; what an earlier one says of the same stay is kept.</summary>
    /// <exception cref="DriverException">CommandMissing, ArgumentInvalid, WorkingDirectoryInvalid, ImageUnsupported.</exception>
    public static GuestRecord Record(InstanceDefinition definition, GuestImage image, GuestRecord? present, VmmAbilities abilities, GuestOptions options)
    {
        if (image is { Process: null, Kernel: null } && (abilities & VmmAbilities.FirmwareBoot) == 0)
        {
            throw new DriverException(
                "ImageUnsupported", $"spec.image: {definition.Assignment.Spec.Image} is a disk image, which boots itself; microVMs run OCI images and kernel sets, choose type vm", permanent: true);
        }

        CheckSettings(definition.Assignment.Spec, image);
        var record = new GuestRecord
        {
            Assignment = definition.Assignment,
            Epoch = definition.Epoch,
            ImageDigest = definition.ImageDigest,
            Nic = definition.Network is { Tap.Length: > 0 } network ? new GuestNic(network.Tap, network.HardwareAddress, network.Mtu) : null,
            Config = image is { Process: not null, Kernel: null } ? Config(definition, image.Process, options) : null,
            Kernel = image.Kernel is var (kernel, initramfs) ? new KernelFiles(kernel, initramfs) : null,
            StopSignal = SignalNames.Parse(image.Process?.StopSignal ?? "") ?? 0,
            Run = present?.Run ?? 0,
            LastRun = present?.LastRun ?? 0,
            Snapshots = present?.Snapshots ?? [],

            // What is made for the first time has nothing to be put back to.
            Restored = present is not null || definition.Assignment.Spec.Restore is not { } restore
                ? present?.Restored
                : new DriverRestore(restore.Generation, restore.SnapshotUid, "SnapshotLost", "the snapshot was on a node that the instance has left since"),
        };
        return present is not null && IsSameRun(definition, present)
            ? record with
            {
                Exit = present.Exit,
                Restarts = present.Restarts,
                Crashes = present.Crashes,
                StartedAt = present.StartedAt,
                FinishedAt = present.FinishedAt,
                BootId = present.BootId,
                Accelerator = present.Accelerator,
            }
            : record;
    }

    /// <summary>What lies suspended goes on as the machine that it was; what else is wanted of it comes with the next start that is none.</summary>
    public static GuestRecord KeepMachine(GuestRecord record, GuestRecord suspended)
    {
        var assignment = record.Assignment.Clone();
        var spec = suspended.Assignment.Spec;
        (assignment.Spec.Resources, assignment.Spec.Machine, assignment.Spec.Process, assignment.Spec.DiskRates) =
            (spec.Resources, spec.Machine, spec.Process, spec.DiskRates);
        return record with
        {
            Assignment = assignment,
            Config = suspended.Config,
            Nic = suspended.Nic,
            Kernel = suspended.Kernel,
            Suspended = true,
            Interrupted = suspended.Interrupted,
            FrozenAt = suspended.FrozenAt,
        };
    }

    /// <summary>It was to be paused when it was suspended, or has to be paused since: it does not run in between.</summary>
    public static bool StaysPaused(GuestRecord record) => record.Suspended && record.Assignment.Spec.DesiredState == DesiredState.Paused;

    /// <summary>
    /// The guest as it was when a snapshot's memory was saved, as far as that matters to its memory; what else is wanted of it stays. Suspended, so
    /// that the next start goes on from there.
    /// </summary>
    public static GuestRecord PutBack(GuestRecord record, GuestRecord saved) => KeepMachine(record, saved) with
    {
        Nic = record.Nic,
        Run = saved.Run,
        LastRun = Math.Max(Math.Max(record.Run, record.LastRun), saved.Run),
        Accelerator = saved.Accelerator,
        StartedAt = saved.StartedAt,
        FinishedAt = null,
        Exit = null,
        Crashes = 0,
        Interrupted = false,
    };

    /// <summary>Null when a snapshot's memory fits into the machine that is wanted now; else what differs.</summary>
    public static string? Misfit(GuestRecord record, GuestRecord saved)
    {
        var (now, then) = (record.Assignment.Spec, saved.Assignment.Spec);
        return (now.Resources?.MemoryBytes, VirtualCpus(now)) != (then.Resources?.MemoryBytes, VirtualCpus(then))
            ? $"it was taken with {then.Resources?.MemoryBytes} bytes of memory and {VirtualCpus(then)} CPUs, and the instance has {now.Resources?.MemoryBytes} and {VirtualCpus(now)}; set spec.resources back first"
            : null;
    }

    /// <summary>Whether a disk outlives what the guest is made from.</summary>
    public static bool KeepsDisks(Assignment assignment) =>
        assignment.Spec.Disks.Any(disk => disk.Kind is not (DiskKind.Unspecified or DiskKind.Ephemeral));

    public static long MemoryBytes(InstanceSpec spec) =>
        InstanceLimits.Of(spec).MemoryBytes is > 0 and var asked ? asked : GuestLimits.DefaultMemoryBytes;

    public static GuestMachine Machine(
        GuestRecord record, GuestStore store, GuestOptions options, Accelerator accelerator, VmmAbilities abilities, string kernelArguments, string output, string error)
    {
        var uid = record.Assignment.Uid;
        var spec = record.Assignment.Spec;
        var limits = InstanceLimits.Of(spec);
        var hasFiles = (abilities & VmmAbilities.OutputFiles) != 0;
        return new GuestMachine(record.Id, record.Epoch, record.Assignment, accelerator)
        {
            VirtualCpus = VirtualCpus(spec),
            Limits = limits with { MemoryBytes = MemoryBytes(spec) },
            Boot = Boot(record, options, kernelArguments),
            Disks = [.. record.Disks.Select(disk => disk.Name == DiskPlan.Root ? disk with { Rate = IoRate.Of(spec.DiskRates) } : disk)],
            Nic = record.Nic,
            RunDirectory = store.RunFolderOf(uid),

            // Without ports for it, what the main process writes comes out of the serial console: then that is its log.
            ConsoleLog = record.Config is not null && !hasFiles ? output : store.ConsoleLogOf(uid),
            OutputFiles = record.Config is not null && hasFiles ? (output, error) : null,
            RestoreFrom = record.Suspended ? store.StateOf(uid) : null,
            StayPaused = StaysPaused(record),
        };
    }

    /// <exception cref="DriverException">AcceleratorUnavailable.</exception>
    public static Accelerator Choose(Assignment assignment, AcceleratorFinding found)
    {
        var asked = assignment.Spec.Machine?.Accelerator ?? AcceleratorRequirement.Unspecified;
        return (asked, found.Accelerator) switch
        {
            (_, Accelerator.None or Accelerator.Unspecified) => throw Unavailable("runs no guests"),
            (AcceleratorRequirement.Kvm, not Accelerator.Kvm) => throw Unavailable("has no working KVM, which spec.machine.accelerator asks for"),
            (AcceleratorRequirement.Tcg, _) => Accelerator.Tcg,
            _ => found.Accelerator,
        };

        DriverException Unavailable(string why) => new(
            "AcceleratorUnavailable", found.Message.Length > 0 ? $"the node {why}: {found.Message}" : $"the node {why}", permanent: false);
    }

    /// <summary>A topology that was asked for, else the limit rounded up to whole CPUs.</summary>
    public static int VirtualCpus(InstanceSpec spec)
    {
        if (spec.Machine?.Topology is { Sockets: > 0, Cores: > 0, Threads: > 0 } topology)
        {
            return topology.Sockets * topology.Cores * topology.Threads;
        }

        return (int)Math.Max(1, ((spec.Resources?.CpuMillicores ?? 0) + 999) / 1000);
    }

    /// <summary>The control plane refuses the same, but for an image that it did not know yet.</summary>
    private static void CheckSettings(InstanceSpec spec, GuestImage image)
    {
        if (image.Process is null && OfProcess(spec) is { } field)
        {
            throw new DriverException(
                "ProcessUnsupported", $"spec.{field} is about the process of an OCI image, and {spec.Image} is none: it boots itself; create the instance without it", permanent: true);
        }

        if (spec.CloudInit is not null && image is not { Process: null, Kernel: null })
        {
            throw new DriverException(
                "CloudInitUnsupported", $"spec.cloud_init is for disk images, and {spec.Image} is none; create the instance without it, and use spec.process", permanent: true);
        }
    }

    private static string? OfProcess(InstanceSpec spec) => spec.Process switch
    {
        { Command.Count: > 0 } => "process.command",
        { Args.Count: > 0 } => "process.args",
        { Env.Count: > 0 } => "process.env",
        { WorkingDir.Length: > 0 } => "process.working_dir",
        { User.Length: > 0 } => "process.user",
        { Stdin: true } => "process.stdin",
        { Terminal: true } => "process.terminal",
        _ => null,
    };

    public static bool IsSameRun(InstanceDefinition definition, GuestRecord present) =>
        definition.Epoch == present.Epoch && definition.Assignment.Spec.RestartGeneration <= present.Assignment.Spec.RestartGeneration;

    private static DirectBoot? Boot(GuestRecord record, GuestOptions options, string kernelArguments) => record switch
    {
        { Config: not null } => new DirectBoot(
            record.Assignment.Spec.Type == InstanceType.Vm ? options.Boot.CompressedKernel : options.Boot.Kernel, options.Boot.Initramfs, KernelCommandLine.OfOurs(kernelArguments)),
        { Kernel: { } own } => new DirectBoot(own.Kernel, own.Initramfs, KernelCommandLine.OfSet(kernelArguments)),
        _ => null,
    };

    private static GuestConfig Config(InstanceDefinition definition, ImageDefaults image, GuestOptions options)
    {
        var spec = definition.Assignment.Spec;
        var process = spec.Process;
        var hostname = AssignedHostname.Of(definition.Assignment);
        var connected = definition.Network is { Tap.Length: > 0 } network ? network : null;
        var asked = spec.Network ?? new NetworkSpec();
        var isWarm = spec.Type == InstanceType.Microvm && (spec.Machine is { HasWarmStart: true } said ? said.WarmStart : image.WarmStart);
        return new GuestConfig
        {
            Run = 0,
            Uid = definition.Assignment.Uid,
            Hostname = hostname,
            Address = connected is null
                ? null
                : new GuestAddress(connected.Address, connected.PrefixLength, connected.Gateway, connected.HardwareAddress, connected.Mtu),
            DnsServers = connected is null ? [] : [.. Resolvers.For(asked.DnsServers, options.DnsServers).Select(server => server.ToString())],
            DnsSearch = connected is null ? [] : [.. asked.DnsSearch],
            Arguments = ProcessRules.Arguments(process, image),
            Environment = ProcessRules.Environment(process, image, hostname),
            WorkingDirectory = ProcessRules.WorkingDirectory(process, image),
            User = process is { User.Length: > 0 } ? process.User : image.User,
            Terminal = process?.Terminal ?? false,
            Stdin = process?.Stdin ?? false,
            ReadOnlyRoot = spec.Security?.ReadOnlyRoot ?? false,
            PidsLimit = spec.Security?.PidsLimit ?? 0,
            MachineId = isWarm ? definition.Assignment.Uid.Replace("-", "", StringComparison.Ordinal) : "",
            DriveBytes = isWarm ? WarmLimits.DriveBytes : 0,
        };
    }
}
