using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>The rules beyond the shape of bodies: what has to exist, what may be there once, what goes together.</summary>
internal sealed partial class Microvm
{
    private static readonly Dictionary<string, (string Key, string Name)> Lists = new()
    {
        ["/drives/{drive_id}"] = ("drives", "drive_id"),
        ["/pmem/{id}"] = ("pmem", "id"),
        ["/network-interfaces/{iface_id}"] = ("network-interfaces", "iface_id"),
    };

    [GeneratedRegex("^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$")]
    private static partial Regex HardwareAddress();

    private void Configure(string path, JsonObject content)
    {
        switch (path)
        {
            case "/logger":
                RequireFile(content, "log_path", "Failed to open target file for logs", write: true);
                _settings["logger"] = content;
                return;
            case "/metrics":
                if (_settings["metrics"] is not null)
                {
                    throw new FaultException("Reinitialization of metrics not allowed.");
                }

                RequireFile(content, "metrics_path", "Failed to open target file for metrics", write: true);
                _settings["metrics"] = content;
                return;
            case "/boot-source":
                RequireFile(content, "kernel_image_path", "The kernel file cannot be opened");
                RequireFile(content, "initrd_path", "The initrd file cannot be opened due to invalid path or invalid permissions");
                break;
            case "/machine-config":
                CheckMachine(content);
                break;
            case "/drives/{drive_id}":
                CheckDrive(content);
                break;
            case "/pmem/{id}":
                RequireFile(content, "path_on_host", "Error opening backing file");
                break;
            case "/network-interfaces/{iface_id}":
                CheckInterface(content);
                break;
            case "/balloon":
                CheckBalloon((long)content["amount_mib"]!);
                break;
            case "/mmds/config":
                CheckMetadataInterfaces(content);
                break;
            case "/vsock":
                _vsock?.Dispose();
                _vsock = new VsockProxy(At((string)content["uds_path"]!), guest);
                break;
        }

        _configured = true;
        if (Lists.TryGetValue(path, out var list))
        {
            Put(list.Key, list.Name, content);
        }
        else if (path != "/serial")
        {
            // The full configuration does not show a serial device.
            _settings[path switch { "/mmds/config" => "mmds-config", "/hotplug/memory" => "memory-hotplug", _ => path[1..] }] = content;
        }
    }

    private async Task ChangeAsync(string path, string name, JsonObject? content)
    {
        switch (path)
        {
            case "/machine-config":
                var machine = MachineConfiguration();
                Merge(machine, content!);
                CheckMachine(machine);
                _configured = true;
                _settings["machine-config"] = machine;
                break;
            case "/balloon":
                Merge(Required("balloon", "No balloon device found."), content!);
                CheckBalloon((long)content!["amount_mib"]!);
                await (_state == MachineState.NotStarted ? Task.CompletedTask : guest.SetBalloonAsync((long)content["amount_mib"]!, MemoryMebibytes));
                break;
            case "/balloon/statistics":
                var balloon = Required("balloon", "No balloon device found.");
                if (HasStatistics(balloon) != ((long)content!["stats_polling_interval_s"]! != 0))
                {
                    throw new FaultException("Statistics cannot be enabled or disabled after activation.");
                }

                Merge(balloon, content);
                break;
            case "/balloon/hinting/start" or "/balloon/hinting/stop":
                RequireHinting();
                break;
            case "/hotplug/memory":
                var hotplug = Required("memory-hotplug", "Memory hotplug device not found.");
                if ((long?)content!["requested_size_mib"] > (long?)hotplug["total_size_mib"])
                {
                    throw new FaultException("Invalid requested size.");
                }

                break;
            case "/drives/{drive_id}":
                var drive = Find("drives", "drive_id", name);
                if (content!["path_on_host"] is not null)
                {
                    RequireFile(content, "path_on_host", "Unable to patch the block device: cannot open its file");
                    await guest.ReplaceDriveAsync(name, Path.GetFullPath(At((string)content["path_on_host"]!)));
                }

                Merge(drive, content);
                break;
            default:
                var (key, field) = Lists[path];
                Merge(Find(key, field, name), content!);
                break;
        }
    }

    private JsonNode Look(string path)
    {
        switch (path)
        {
            case "/balloon":
                return Required("balloon", "No balloon device found.").DeepClone();
            case "/balloon/statistics":
                var balloon = Required("balloon", "No balloon device found.");
                return HasStatistics(balloon)
                    ? new JsonObject
                    {
                        ["target_pages"] = (long)balloon["amount_mib"]! * 256,
                        ["actual_pages"] = (long)balloon["amount_mib"]! * 256,
                        ["target_mib"] = (long)balloon["amount_mib"]!,
                        ["actual_mib"] = (long)balloon["amount_mib"]!,
                    }
                    : throw new FaultException("Statistics for the balloon device are not enabled.");
            case "/balloon/hinting/status":
                RequireHinting();
                return new JsonObject { ["host_cmd"] = 0 };
            default:
                var hotplug = Required("memory-hotplug", "Memory hotplug device not found.").DeepClone();
                hotplug["plugged_size_mib"] = 0L;
                hotplug["requested_size_mib"] = 0L;
                return hotplug;
        }
    }

    private JsonObject MachineConfiguration() => _settings["machine-config"]?.DeepClone().AsObject()
        ?? new JsonObject { ["vcpu_count"] = 1L, ["mem_size_mib"] = 128L, ["smt"] = false, ["track_dirty_pages"] = false };

    private long MemoryMebibytes => (long)MachineConfiguration()["mem_size_mib"]!;

    private JsonObject FullConfiguration()
    {
        var full = _settings.DeepClone().AsObject();
        full["machine-config"] = MachineConfiguration();
        foreach (var key in (string[])["drives", "network-interfaces", "pmem"])
        {
            full[key] ??= new JsonArray();
        }

        return full;
    }

    private static void CheckMachine(JsonObject machine)
    {
        if ((bool?)machine["smt"] == true && (long)machine["vcpu_count"]! is > 1 and var count && count % 2 != 0)
        {
            throw new FaultException("The vCPU number is invalid! The vCPU number can only be 1 or an even number when SMT is enabled.");
        }

        if ((string?)machine["huge_pages"] == "2M" && (long)machine["mem_size_mib"]! % 2 != 0)
        {
            throw new FaultException("The memory size (MiB) is invalid.");
        }
    }

    private void CheckDrive(JsonObject drive)
    {
        var onHost = drive["path_on_host"] is not null && drive["is_read_only"] is not null;
        if (drive["socket"] is not null)
        {
            throw new FaultException(onHost || drive["path_on_host"] is not null || drive["is_read_only"] is not null || drive["rate_limiter"] is not null
                ? "Invalid configuration for block device: both virtio and vhost-user fields are set."
                : "The stand-in has no vhost-user block devices.");
        }

        if (!onHost)
        {
            throw new FaultException("Invalid configuration for block device: path_on_host and is_read_only are needed.");
        }

        RequireFile(drive, "path_on_host", "Unable to create the virtio block device: cannot open its file", write: !(bool)drive["is_read_only"]!);
        var name = (string)drive["drive_id"]!;
        if ((bool)drive["is_root_device"]! && Entries("drives").Any(other => (bool)other["is_root_device"]! && (string?)other["drive_id"] != name))
        {
            throw new FaultException("A root block device already exists!");
        }
    }

    private void CheckInterface(JsonObject content)
    {
        var others = Entries("network-interfaces").Where(other => (string?)other["iface_id"] != (string?)content["iface_id"]).ToList();
        if ((string?)content["guest_mac"] is { } address)
        {
            if (!HardwareAddress().IsMatch(address))
            {
                throw new FaultException($"An error occurred when deserializing the json body of a request: invalid MAC address `{address}`.");
            }

            if (others.Any(other => string.Equals((string?)other["guest_mac"], address, StringComparison.OrdinalIgnoreCase)))
            {
                throw new FaultException($"The MAC address is already in use: {address}");
            }
        }

        if ((string)content["host_dev_name"]! is not { Length: > 0 and <= 15 } tap || others.Any(other => (string?)other["host_dev_name"] == tap))
        {
            throw new FaultException("Could not create the network device: Open tap device failed.");
        }
    }

    private void CheckBalloon(long mebibytes)
    {
        if (mebibytes > MemoryMebibytes)
        {
            throw new FaultException("Amount of pages requested is too large.");
        }
    }

    private void CheckMetadataInterfaces(JsonObject content)
    {
        var names = content["network_interfaces"]!.AsArray().Select(name => (string)name!).ToList();
        if (names.Count == 0)
        {
            throw new FaultException("The list of network interface IDs that allow forwarding MMDS requests is empty.");
        }

        if (names.FirstOrDefault(name => Entries("network-interfaces").All(other => (string?)other["iface_id"] != name)) is not null)
        {
            throw new FaultException("The list of network interface IDs provided contains at least one ID that does not correspond to any existing network interface.");
        }

        if ((string?)content["ipv4_address"] is { } address && !address.StartsWith("169.254.", StringComparison.Ordinal))
        {
            throw new FaultException("The MMDS IPv4 address is not link local.");
        }
    }

    private void RequireHinting()
    {
        if ((bool?)Required("balloon", "No balloon device found.")["free_page_hinting"] != true)
        {
            throw new FaultException("Free page hinting is not enabled.");
        }
    }

    private static bool HasStatistics(JsonObject balloon) => ((long?)balloon["stats_polling_interval_s"] ?? 0) != 0;

    private void RequireFile(JsonObject content, string field, string fault, bool write = false)
    {
        if ((string?)content[field] is not { } path)
        {
            return;
        }

        try
        {
            using var file = File.OpenHandle(At(path), access: write ? FileAccess.ReadWrite : FileAccess.Read, share: FileShare.ReadWrite);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new FaultException(string.Create(CultureInfo.InvariantCulture, $"{fault}: {error.Message}"));
        }
    }

    private IEnumerable<JsonObject> Entries(string key) => _settings[key] is JsonArray list ? list.Select(item => item!.AsObject()) : [];

    private JsonObject Find(string key, string field, string name) =>
        Entries(key).FirstOrDefault(entry => (string?)entry[field] == name) ?? throw new FaultException($"Device not found: {name}");

    private JsonObject Required(string key, string fault) => _settings[key]?.AsObject() ?? throw new FaultException(fault);

    /// <summary>In the order in which they came, but a root device first.</summary>
    private void Put(string key, string field, JsonObject content)
    {
        var list = (_settings[key] ??= new JsonArray()).AsArray();
        var index = list.ToList().FindIndex(entry => (string?)entry![field] == (string?)content[field]);
        if (index >= 0)
        {
            list[index] = content;
        }
        else if ((bool?)content["is_root_device"] == true)
        {
            list.Insert(0, content);
        }
        else
        {
            list.Add(content);
        }
    }

    private static void Merge(JsonObject target, JsonObject changes)
    {
        foreach (var (key, value) in changes)
        {
            target[key] = value?.DeepClone();
        }
    }
}
