using System.Text.RegularExpressions;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What the machine of a VM or microVM may be asked to be. Containers have none.</summary>
internal static partial class MachineValidation
{
    private const int MaxTopology = 64;

    public static void Check(InstanceSpec spec, string field, FieldViolations violations)
    {
        var container = spec.Type == InstanceType.Container;
        TextChecks.Unsupported(container && spec.Machine is not null, "CONTAINER", $"{field}.machine", violations);
        TextChecks.Unsupported(container && spec.CloudInit is not null, "CONTAINER", $"{field}.cloud_init", violations);
        TextChecks.Unsupported(spec.Type == InstanceType.Microvm && spec.CloudInit is not null, "MICROVM", $"{field}.cloud_init", violations);
        TextChecks.OutputOnly(spec.Snapshots.Count > 0, $"{field}.snapshots", violations);
        TextChecks.OutputOnly(spec.Restore is not null, $"{field}.restore", violations);
        TextChecks.OutputOnly(spec.Source is not null, $"{field}.source", violations);
        if (!container && spec.Machine is { } machine)
        {
            CheckMachine(machine, spec.Type == InstanceType.Microvm, $"{field}.machine", violations);
        }
    }

    private static void CheckMachine(MachineSpec machine, bool microvm, string field, FieldViolations violations)
    {
        TextChecks.Known(machine.Firmware, $"{field}.firmware", violations);
        TextChecks.Known(machine.Accelerator, $"{field}.accelerator", violations);
        TextChecks.Unsupported(microvm && machine.Firmware != Firmware.Unspecified, "MICROVM", $"{field}.firmware", violations);
        TextChecks.Unsupported(microvm && machine.CpuModel.Length > 0, "MICROVM", $"{field}.cpu_model", violations);
        TextChecks.Unsupported(microvm && machine.Topology is not null, "MICROVM", $"{field}.topology", violations);
        TextChecks.Unsupported(!microvm && machine.WarmStart, "VM", $"{field}.warm_start", violations);
        if (machine.CpuModel.Length > 0 && !CpuModel().IsMatch(machine.CpuModel))
        {
            violations.Add($"{field}.cpu_model", $"'{Printable.Quote(machine.CpuModel)}' is not host-passthrough, host-model or a model's name (letters, digits, '-', '_', '.').");
        }

        if (machine.Topology is { } topology)
        {
            TextChecks.Range(topology.Sockets, 1, MaxTopology, "sockets", $"{field}.topology.sockets", violations);
            TextChecks.Range(topology.Cores, 1, MaxTopology, "cores", $"{field}.topology.cores", violations);
            TextChecks.Range(topology.Threads, 1, MaxTopology, "threads", $"{field}.topology.threads", violations);
        }
    }

    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z")]
    private static partial Regex CpuModel();
}
