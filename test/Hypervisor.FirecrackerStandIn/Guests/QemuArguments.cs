using System.Globalization;
using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn.Guests;

/// <summary>The machine that was configured, as a command line of QEMU's microvm machine.</summary>
/// <param name="monitorName">Of the abstract socket for QMP.</param>
/// <param name="channelName">Of the abstract socket in front of the virtio-serial port.</param>
/// <param name="incoming">A shell command that writes a saved machine; null for one that boots.</param>
internal sealed class QemuArguments(JsonObject configuration, string monitorName, string channelName, string? incoming)
{
    /// <summary>What a guest's init opens instead of a vsock.</summary>
    public const string PortName = "zixiao.control";

    private readonly List<string> _arguments = [];

    public IReadOnlyList<string> Render()
    {
        var machine = configuration["machine-config"]!;
        if (configuration["pmem"] is JsonArray { Count: > 0 } || configuration["cpu-config"] is not null
            || configuration["memory-hotplug"] is not null || configuration["mmds-config"] is not null)
        {
            throw new FaultException("The stand-in's QEMU has no pmem, CPU configuration, hot-plugged memory or metadata service.");
        }

        Add("-M", "microvm", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S");
        Add("-m", $"{machine["mem_size_mib"]}M", "-smp", $"{machine["vcpu_count"]}");
        Add("-chardev", $"socket,id=monitor,path={monitorName},abstract=on,server=on,wait=off", "-mon", "chardev=monitor,mode=control");
        Add("-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial");
        Boot(configuration["boot-source"]);
        foreach (var drive in configuration["drives"]!.AsArray())
        {
            Drive(drive!);
        }

        foreach (var nic in configuration["network-interfaces"]!.AsArray())
        {
            Interface(nic!);
        }

        if (configuration["vsock"] is not null)
        {
            Add("-device", "virtio-serial-device");
            Add("-chardev", $"socket,id=control,path={channelName},abstract=on,server=on,wait=off");
            Add("-device", $"virtserialport,chardev=control,name={PortName}");
        }

        if (configuration["balloon"] is not null)
        {
            Add("-device", "virtio-balloon-device,id=balloon");
        }

        if (configuration["entropy"] is not null)
        {
            Add("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-device,rng=entropy");
        }

        // For Ctrl-Alt-Del, as Firecracker has it.
        Add("-device", "i8042");
        if (incoming is not null)
        {
            Add("-incoming", $"exec:{incoming}");
        }

        return _arguments;
    }

    /// <summary>Commas separate QEMU's options unless they are doubled; JSON needs no such thing.</summary>
    private void AddJson(string option, JsonObject value) => Add(option, value.ToJsonString());

    private void Add(params string[] arguments) => _arguments.AddRange(arguments);

    private void Boot(JsonNode? source)
    {
        if (source is null)
        {
            return;
        }

        Add("-kernel", (string)source["kernel_image_path"]!);
        if ((string?)source["initrd_path"] is { } initrd)
        {
            Add("-initrd", initrd);
        }

        // What Firecracker adds, and what its guests have from KVM's clock: without it, a busy machine's kernel calibrates for ever.
        var line = (string?)source["boot_args"] ?? "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
        if (configuration["drives"]!.AsArray().FirstOrDefault(drive => (bool)drive!["is_root_device"]!) is { } root)
        {
            line += $" root={((string?)root["partuuid"] is { } part ? "PARTUUID=" + part : "/dev/vda")} {((bool)root["is_read_only"]! ? "ro" : "rw")}";
        }

        Add("-append", string.Create(CultureInfo.InvariantCulture, $"{line} tsc_early_khz={ClockKilohertz()}"));
    }

    private void Drive(JsonNode drive)
    {
        var id = (string)drive["drive_id"]!;
        var readOnly = (bool)drive["is_read_only"]!;
        AddJson("-blockdev", FileNode($"file-{id}", (string)drive["path_on_host"]!, readOnly));
        AddJson("-blockdev", RawNode(id, $"file-{id}", readOnly));
        var node = $"raw-{id}";
        if (drive["rate_limiter"] is { } limiter)
        {
            AddJson("-object", new JsonObject
            {
                ["qom-type"] = "throttle-group",
                ["id"] = $"rate-{id}",
                ["limits"] = new JsonObject { ["bps-total"] = PerSecond(limiter["bandwidth"]), ["iops-total"] = PerSecond(limiter["ops"]) },
            });
            AddJson("-blockdev", new JsonObject { ["driver"] = "throttle", ["node-name"] = $"slow-{id}", ["throttle-group"] = $"rate-{id}", ["file"] = node });
            node = $"slow-{id}";
        }

        Add("-device", $"virtio-blk-device,drive={node},id=disk-{id}");
    }

    public static JsonObject FileNode(string node, string path, bool readOnly) => new()
    {
        ["driver"] = "file",
        ["node-name"] = node,
        ["filename"] = path,
        ["read-only"] = readOnly,
        ["locking"] = "off",
    };

    public static JsonObject RawNode(string id, string file, bool readOnly) => new()
    {
        ["driver"] = "raw",
        ["node-name"] = $"raw-{id}",
        ["file"] = file,
        ["read-only"] = readOnly,
    };

    private void Interface(JsonNode nic)
    {
        var id = (string)nic["iface_id"]!;
        var tap = (string)nic["host_dev_name"]!;
        if (!tap.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.'))
        {
            throw new FaultException("Could not create the network device: Open tap device failed.");
        }

        Add("-netdev", $"tap,id={id},ifname={tap},script=no,downscript=no");
        var address = (string?)nic["guest_mac"] is { } mac ? $",mac={mac}" : "";
        var mtu = nic["mtu"] is { } bytes ? $",host_mtu={bytes}" : "";
        Add("-device", $"virtio-net-device,netdev={id}{address}{mtu}");
    }

    private static long PerSecond(JsonNode? bucket) =>
        bucket is null ? 0 : (long)bucket["size"]! * 1000 / Math.Max(1, (long)bucket["refill_time"]!);

    private static long ClockKilohertz()
    {
        var line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(text => text.StartsWith("cpu MHz", StringComparison.Ordinal));
        return line is not null && double.TryParse(line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..], CultureInfo.InvariantCulture, out var megahertz)
            ? (long)(megahertz * 1000)
            : 2_000_000;
    }
}
