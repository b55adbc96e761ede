using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>
/// Snapshots: the state is what was configured and how much of the memory's file is the guest's; that file is QEMU's own stream. A "Diff"
/// needs what Firecracker needs for one, and writes all the same.
/// </summary>
internal sealed partial class Microvm
{
    private async Task SaveAsync(JsonObject content)
    {
        if (_state != MachineState.Paused)
        {
            throw new FaultException("Cannot create snapshot: the microVM should be paused.");
        }

        if ((string?)content["snapshot_type"] == "Diff" && (bool?)MachineConfiguration()["track_dirty_pages"] != true)
        {
            throw new FaultException("Diff snapshots are not allowed on uVMs with dirty page tracking disabled.");
        }

        var memoryPath = At((string)content["mem_file_path"]!);
        var bytes = await guest.SaveAsync(memoryPath);
        using (var file = File.OpenHandle(memoryPath, access: FileAccess.ReadWrite))
        {
            // As long as the memory is, as Firecracker's is.
            RandomAccess.SetLength(file, Math.Max(bytes, MemoryMebibytes << 20));
        }

        var state = new JsonObject { ["stand_in"] = version, ["bytes"] = bytes, ["configuration"] = FullConfiguration() };
        await File.WriteAllTextAsync(At((string)content["snapshot_path"]!), state.ToJsonString());
    }

    private async Task LoadAsync(JsonObject content)
    {
        if (_configured)
        {
            throw new FaultException("Loading a microVM snapshot not allowed after configuring boot-specific resources.");
        }

        var backend = content["mem_backend"]?.AsObject();
        if ((backend is null) == (content["mem_file_path"] is null))
        {
            throw new FaultException("Exactly one of mem_backend and mem_file_path is needed.");
        }

        if ((string?)backend?["backend_type"] == "Uffd")
        {
            throw new FaultException("The stand-in serves no page faults.");
        }

        if ((string?)content["huge_pages"] == "2M")
        {
            throw new FaultException("Explicit huge pages require a UFFD memory backend.");
        }

        var (state, bytes) = ReadState(At((string)content["snapshot_path"]!));
        var memoryPath = At((string?)backend?["backend_path"] ?? (string)content["mem_file_path"]!);
        Override(state, content);
        RequireFile(new JsonObject { ["path"] = memoryPath }, "path", "Cannot open the memory file");
        var memoryBytes = (long)state["machine-config"]!["mem_size_mib"]! << 20;
        using (var memory = File.OpenHandle(memoryPath))
        {
            CheckLength(RandomAccess.GetLength(memory), Math.Max(bytes, memoryBytes));
        }

        foreach (var drive in state["drives"]!.AsArray())
        {
            RequireFile(drive!.AsObject(), "path_on_host", "Cannot restore devices: a drive's file cannot be opened", write: !(bool)drive["is_read_only"]!);
        }

        if (state["vsock"] is JsonObject vsock)
        {
            _vsock = new VsockProxy(At((string)vsock["uds_path"]!), guest);
        }

        // As in Firecracker: what it booted is not in a snapshot.
        state.Remove("boot-source");
        await guest.LoadAsync(state, memoryPath, bytes);
        _state = MachineState.Paused;
        foreach (var (key, value) in state)
        {
            // Those of this process stay.
            if (key is not ("logger" or "metrics"))
            {
                _settings[key] = value?.DeepClone();
            }
        }

        var machine = _settings["machine-config"]!.AsObject();
        machine["track_dirty_pages"] = (bool?)content["track_dirty_pages"] ?? (bool?)content["enable_diff_snapshots"] ?? false;

        if ((bool?)content["resume_vm"] == true)
        {
            await SetStateAsync(paused: false);
        }
    }

    private static void CheckLength(long length, long needed)
    {
        if (length < needed)
        {
            throw new FaultException("Cannot create memory: the memory file is shorter than the memory.");
        }
    }

    private static (JsonObject Configuration, long Bytes) ReadState(string path)
    {
        try
        {
            var state = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            return (state["configuration"]!.AsObject(), (long)state["bytes"]!);
        }
        catch (Exception error) when (error is IOException or JsonException or InvalidOperationException or NullReferenceException)
        {
            throw new FaultException($"Failed to restore from snapshot: Failed to get snapshot state from file: {error.Message}");
        }
    }

    private static void Override(JsonObject state, JsonObject content)
    {
        foreach (var change in content["network_overrides"]?.AsArray() ?? [])
        {
            var device = state["network-interfaces"]!.AsArray().FirstOrDefault(one => (string?)one!["iface_id"] == (string?)change!["iface_id"])
                ?? throw new FaultException("Failed to restore from snapshot: Unknown Network Device");
            device["host_dev_name"] = change!["host_dev_name"]!.DeepClone();
        }

        if (content["vsock_override"] is JsonObject vsock)
        {
            (state["vsock"] ?? throw new FaultException("Failed to restore from snapshot: Unknown Vsock Device"))["uds_path"] = vsock["uds_path"]!.DeepClone();
        }
    }
}
