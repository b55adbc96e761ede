using System.Globalization;
using System.Text;
using System.Text.Json;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>QEMU's arguments for a microVM: a pure function.</summary>
/// <remarks>
/// Options are lists of key=value with commas between, a comma in a value is doubled (qemu(1)). Values that come from anywhere but this
/// file are either checked by rules of their own or escaped; block devices are JSON.
/// </remarks>
internal static class QemuCommandLine
{
    /// <summary>No new programs, no other users, no scheduling policy: what a guest that broke out of QEMU would want first.</summary>
    private const string Sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

    private const int LongestSerial = 20;

    /// <summary>As the machine calls memory of its own, so that what is saved with the one fits the other.</summary>
    private const string MemoryName = "microvm.ram";

    /// <summary>How the monitor is told which device is meant.</summary>
    public const string BalloonName = "balloon";

    public static string MonitorOf(string runDirectory) => Path.Combine(runDirectory, "qmp");

    /// <summary>How a process of this guest is told from others, by its command line.</summary>
    public static bool IsOf(string uid, IReadOnlyList<string> commandLine)
    {
        for (var index = 0; index + 1 < commandLine.Count; index++)
        {
            if (commandLine[index] == "-name" && commandLine[index + 1] == NameOf(uid))
            {
                return true;
            }
        }

        return false;
    }

    /// <exception cref="DriverException">GuestInvalid: something of it cannot be said to QEMU.</exception>
    public static IReadOnlyList<string> Render(GuestMachine machine)
    {
        var uid = Guid.TryParseExact(machine.Id.Value, "D", out _) ? machine.Id.Value : throw Invalid("its uid is no UUID");
        var boot = machine.Boot ?? throw Invalid("it boots a disk of its own, which a microVM cannot; choose type vm");
        List<string> arguments =
        [
            "-name", NameOf(uid),
            "-uuid", uid,
            "-sandbox", Sandbox,
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display", "none",

            // Its own defaults: without its timers and its clock a guest hangs under software emulation.
            "-M", machine.Memory is null ? "microvm" : $"microvm,memory-backend={MemoryName}",
            "-accel", machine.Accelerator == Accelerator.Kvm ? "kvm" : "tcg",
            "-cpu", Cpu(machine),
            "-smp", Number(machine.VirtualCpus),
            "-m", Number(Math.Max(1, machine.Limits.MemoryBytes >> 20)),
            "-kernel", boot.Kernel,
            "-initrd", boot.Initramfs,
            "-append", Printable(boot.CommandLine),
            "-chardev", $"socket,id=qmp,path={Escaped(MonitorOf(machine.RunDirectory))},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", $"socket,id=console,path={Escaped(machine.ConsoleSocket)},server=on,wait=off,logfile={Escaped(machine.ConsoleLog)},logappend=on",
            "-serial", "chardev:console",
            "-object", "rng-random,id=rng,filename=/dev/urandom",
            "-device", "virtio-rng-device,rng=rng",
        ];
        if (machine.OutputFiles is not null)
        {
            AddPorts(arguments, machine);
        }
        else
        {
            // Without our init the end of a guest is told by nothing but QEMU: it stays, as "shutdown", until it was asked.
            arguments.Add("-no-shutdown");
        }

        foreach (var disk in machine.Disks)
        {
            AddDisk(arguments, disk);
        }

        if (machine.Nic is { } nic)
        {
            arguments.AddRange(
            [
                "-netdev", $"tap,id=net,ifname={InterfaceName(nic.Tap)},script=no,downscript=no",
                "-device", $"virtio-net-device,netdev=net,mac={HardwareAddress(nic.HardwareAddress)},host_mtu={Number(nic.Mtu)}",
            ]);
        }

        // Last, so that all others are where they were in a guest whose memory was saved before there was one. Of no size: it takes memory from a
        // guest only when it is told to.
        arguments.AddRange(["-device", $"virtio-balloon-device,id={BalloonName},deflate-on-oom=on"]);
        if (machine.Memory is { } memory)
        {
            arguments.AddRange(
            [
                "-object",
                $"memory-backend-file,id={MemoryName},size={Number(Math.Max(1, machine.Limits.MemoryBytes >> 20))}M,mem-path={Escaped(memory.Path)},share={(memory.IsPrivate ? "off" : "on")}",
            ]);
        }

        if (machine.RestoreFrom is not null)
        {
            // Its standard input is the file. Without the memory in it, it cannot be read before QEMU was told so.
            arguments.AddRange(["-incoming", machine.Memory is null ? "fd:0" : "defer"]);
        }

        if (IsWarm(machine))
        {
            // Its address is another guest's, or none: there is nobody to tell on the network where it is now.
            arguments.AddRange(["-global", "migration.announce-rounds=0"]);
        }

        return arguments;
    }

    /// <summary>
    /// What QEMU's C library is told: a heap of large pages, for all threads, where a guest that goes on under emulation waits for the 2,300 page faults and
    /// 300 mprotect(2) that it would cost otherwise. It takes two megabytes more, so others, which start slower anyway, do without.
    /// </summary>
    public static string Tunables(GuestMachine machine) =>
        IsWarm(machine) && machine.Accelerator == Accelerator.Tcg ? "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.top_pad=4194304" : "";

    /// <summary>Whether it goes on from memory that lies in a file.</summary>
    public static bool IsWarm(GuestMachine machine) => machine is { RestoreFrom: not null, Memory: not null };

    private static string NameOf(string uid) => $"zixiao-{uid}";

    private static void AddPorts(List<string> arguments, GuestMachine machine)
    {
        var (output, error) = machine.OutputFiles!.Value;
        arguments.AddRange(
        [
            "-device", "virtio-serial-device",
            "-chardev", $"socket,id=control,path={Escaped(machine.ChannelSocket)},server=on,wait=off",
            "-device", "virtserialport,chardev=control,name=zixiao.control",
            "-chardev", $"file,id=stdout,path={Escaped(output)},append=on",
            "-device", "virtserialport,chardev=stdout,name=zixiao.stdout",
            "-chardev", $"file,id=stderr,path={Escaped(error)},append=on",
            "-device", "virtserialport,chardev=stderr,name=zixiao.stderr",
        ]);
    }

    private static void AddDisk(List<string> arguments, GuestDisk disk)
    {
        // Our own names and RFC 1123 labels; "disk-" because node names must begin with a letter.
        if (disk.Name.Length == 0 || !disk.Name.All(character => char.IsAsciiLetterOrDigit(character) || character == '-'))
        {
            throw Invalid($"the disk name \"{disk.Name}\" is no label");
        }

        var node = $"disk-{disk.Name}";
        var serial = disk.Name.Length <= LongestSerial ? disk.Name : disk.Name[..LongestSerial];
        if (disk.Rate is { } rate)
        {
            arguments.AddRange(["-object", Limits(LimitsOf(node), rate)]);
        }

        arguments.AddRange(["-blockdev", BlockDevice(node, disk), "-device", $"virtio-blk-device,drive={node},serial={serial}"]);
    }

    private static string LimitsOf(string node) => $"{node}-rate";

    private static string BlockDevice(string node, GuestDisk disk) => Json(json =>
    {
        if (disk.Rate is not null)
        {
            // Above the format, so that what the guest asks for is counted and not what its file costs.
            json.WriteString("driver", "throttle");
            json.WriteString("node-name", node);
            json.WriteString("throttle-group", LimitsOf(node));
            WriteAccess(json, disk);
            json.WriteStartObject("file");
            WriteFormat(json, disk);
            json.WriteEndObject();
        }
        else
        {
            WriteFormat(json, disk, node);
        }
    });

    private static string Limits(string name, IoRate rate) => Json(json =>
    {
        json.WriteString("qom-type", "throttle-group");
        json.WriteString("id", name);
        json.WriteStartObject("limits");
        json.WriteNumber("bps-read", rate.ReadBytes);
        json.WriteNumber("bps-write", rate.WriteBytes);
        json.WriteNumber("iops-read", rate.ReadOperations);
        json.WriteNumber("iops-write", rate.WriteOperations);
        json.WriteEndObject();
    });

    private static void WriteFormat(Utf8JsonWriter json, GuestDisk disk, string? node = null)
    {
        json.WriteString("driver", disk.Format == DiskFormat.Qcow2 ? "qcow2" : "raw");
        if (node is not null)
        {
            json.WriteString("node-name", node);
        }

        WriteAccess(json, disk);
        json.WriteStartObject("file");
        json.WriteString("driver", "file");
        json.WriteString("filename", disk.Path);
        json.WriteEndObject();
    }

    private static void WriteAccess(Utf8JsonWriter json, GuestDisk disk)
    {
        json.WriteBoolean("read-only", disk.ReadOnly);
        if (!disk.ReadOnly)
        {
            json.WriteString("discard", "unmap");
        }
    }

    private static string Json(Action<Utf8JsonWriter> members)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    private static string Cpu(GuestMachine machine)
    {
        var asked = machine.MadeFrom.Spec.Machine?.CpuModel ?? "";
        if (asked is "" or "host-passthrough" or "host-model")
        {
            return machine.Accelerator == Accelerator.Kvm ? "host" : "max";
        }

        return asked.Length <= 64 && asked.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.')
            ? asked
            : throw Invalid($"spec.machine.cpu_model: \"{asked}\" is no CPU model; leave it empty, or choose one of qemu-system-x86_64 -cpu help");
    }

    private static string Escaped(string value) => Printable(value).Replace(",", ",,", StringComparison.Ordinal);

    private static string Printable(string value) =>
        value.Any(char.IsControl) ? throw Invalid("a path or argument holds a control character") : value;

    private static string InterfaceName(string name) =>
        name.Length is >= 1 and <= 15 && name.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.')
            ? name
            : throw Invalid($"\"{name}\" is no interface name");

    private static string HardwareAddress(string address) =>
        address.Length == 17 && address.All(character => char.IsAsciiHexDigit(character) || character == ':')
            ? address
            : throw Invalid($"\"{address}\" is no hardware address");

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static DriverException Invalid(string why) => new("GuestInvalid", $"the guest cannot be given to QEMU: {why}", permanent: true);
}
