using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Nodes;

/// <summary>What operators may decide about what a node takes.</summary>
internal static class NodeSpecRules
{
    public static void CheckTaints(IList<Taint> taints, string field, FieldViolations violations)
    {
        TextChecks.Count(taints.Count, Limits.Agents.Taints, field, violations);
        var seen = new HashSet<(string, TaintEffect)>();
        for (var index = 0; index < Math.Min(taints.Count, Limits.Agents.Taints); index++)
        {
            var taint = taints[index];
            if (LabelSyntax.KeyProblem(taint.Key) is { } keyProblem)
            {
                violations.Add($"{field}[{index}].key", $"'{Printable.Quote(taint.Key)}': the key {keyProblem}.");
            }

            if (LabelSyntax.ValueProblem(taint.Value) is { } valueProblem)
            {
                violations.Add($"{field}[{index}].value", $"'{Printable.Quote(taint.Value)}' {valueProblem}.");
            }

            if (taint.Effect == TaintEffect.Unspecified || !Enum.IsDefined(taint.Effect))
            {
                violations.Add($"{field}[{index}].effect", "is missing or unknown; one of NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE.");
            }
            else if (!seen.Add((taint.Key, taint.Effect)))
            {
                violations.Add($"{field}[{index}]", $"the key '{Printable.Quote(taint.Key)}' is there twice with this effect; keep one.");
            }
        }
    }

    public static void CheckOvercommit(Overcommit? overcommit, string field, FieldViolations violations)
    {
        Factor(overcommit?.Cpu ?? 0, $"{field}.cpu", violations);
        Factor(overcommit?.Memory ?? 0, $"{field}.memory", violations);
    }

    public static void CheckReserved(Resources? reserved, string field, FieldViolations violations)
    {
        TextChecks.Range(reserved?.CpuMillicores ?? 0, 0, Limits.Instance.MaxCpuMillicores, "millicores", $"{field}.cpu_millicores", violations);
        TextChecks.Range(reserved?.MemoryBytes ?? 0, 0, Limits.Instance.MaxMemoryBytes, "bytes", $"{field}.memory_bytes", violations);
        TextChecks.Range(reserved?.DiskBytes ?? 0, 0, Limits.Instance.MaxDiskBytes, "bytes", $"{field}.disk_bytes", violations);
        if (reserved is not null)
        {
            DeviceChecks.Check(reserved.Devices, $"{field}.devices", violations);
        }
    }

    // Not a number fails every comparison.
    private static void Factor(double factor, string field, FieldViolations violations)
    {
        if (factor != 0 && !(factor >= 1 && factor <= Limits.Agents.Overcommit))
        {
            violations.Add(field, $"{factor} is neither 0, which means 1, nor from 1 to {Limits.Agents.Overcommit}.");
        }
    }
}
