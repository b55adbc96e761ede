using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Nodes;

/// <summary>What an agent may say of its machine.</summary>
internal static class NodeInventoryRules
{
    public static void Check(NodeInventory? inventory, FieldViolations violations)
    {
        if (inventory is null)
        {
            violations.Add("inventory", "is missing; describe the machine");
            return;
        }

        Text(inventory.Hostname, "inventory.hostname", violations);
        Text(inventory.AgentAddress, "inventory.agent_address", violations);
        Text(inventory.Role, "inventory.role", violations);
        Text(inventory.Region, "inventory.region", violations);
        Text(inventory.Zone, "inventory.zone", violations);
        Text(inventory.AgentVersion, "inventory.agent_version", violations);
        Text(inventory.OperatingSystem, "inventory.operating_system", violations);
        Text(inventory.KernelVersion, "inventory.kernel_version", violations);
        Text(inventory.Architecture, "inventory.architecture", violations);
        Text(inventory.BootId, "inventory.boot_id", violations);

        var capacity = inventory.Capacity ?? new Resources();
        Amount(capacity.CpuMillicores, "inventory.capacity.cpu_millicores", violations);
        Amount(capacity.MemoryBytes, "inventory.capacity.memory_bytes", violations);
        Amount(capacity.DiskBytes, "inventory.capacity.disk_bytes", violations);
        DeviceChecks.Check(capacity.Devices, "inventory.capacity.devices", violations);

        if (inventory.Runtimes.Count > Limits.Agents.Runtimes)
        {
            violations.Add("inventory.runtimes", $"has {inventory.Runtimes.Count} entries; at most {Limits.Agents.Runtimes}");
            return;
        }

        for (var i = 0; i < inventory.Runtimes.Count; i++)
        {
            var runtime = inventory.Runtimes[i];
            Text(runtime.Driver, $"inventory.runtimes[{i}].driver", violations);
            Text(runtime.Version, $"inventory.runtimes[{i}].version", violations);
            Text(runtime.Message, $"inventory.runtimes[{i}].message", violations);
            if (runtime.Warnings.Count > Limits.Agents.RuntimeWarnings)
            {
                violations.Add($"inventory.runtimes[{i}].warnings", $"has {runtime.Warnings.Count} entries; at most {Limits.Agents.RuntimeWarnings}");
                continue;
            }

            foreach (var warning in runtime.Warnings)
            {
                Text(warning.Reason, $"inventory.runtimes[{i}].warnings.reason", violations);
                Text(warning.Message, $"inventory.runtimes[{i}].warnings.message", violations);
            }
        }
    }

    // Shown on terminals: control characters are refused where they come in.
    private static void Text(string value, string field, FieldViolations violations)
    {
        if (value.Length > Limits.Agents.InventoryCharacters)
        {
            violations.Add(field, $"has {value.Length} characters; at most {Limits.Agents.InventoryCharacters}");
        }
        else if (value.Any(char.IsControl))
        {
            violations.Add(field, "contains control characters");
        }
    }

    private static void Amount(long value, string field, FieldViolations violations)
    {
        if (value is < 0 or > Limits.Agents.Capacity)
        {
            violations.Add(field, $"is {value}; it has to be between 0 and {Limits.Agents.Capacity}");
        }
    }
}
