using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Which disks an instance may have: bounded, named once, and of kinds that its type can honour.</summary>
internal static class DiskValidation
{
    public const string Root = "root";

    public static void Check(InstanceSpec spec, string field, FieldViolations violations)
    {
        TextChecks.Count(spec.Disks.Count, Limits.Instance.Disks, field, violations);
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (var index = 0; index < spec.Disks.Count; index++)
        {
            Check(spec.Disks[index], spec.Type, $"{field}[{index}]", names, violations);
        }

        if (spec.Disks.Count > 0 && !names.Contains(Root))
        {
            violations.Add(field, $"none is named '{Root}'; name the root disk so, or leave disks out for the default.");
        }
    }

    private static void Check(Disk disk, InstanceType type, string field, HashSet<string> names, FieldViolations violations)
    {
        if (!LabelSyntax.IsDnsLabel(disk.Name))
        {
            violations.Add($"{field}.name", disk.Name.Length == 0
                ? "is required: 1-63 characters of a-z, 0-9 and '-', not at the ends."
                : $"'{Printable.Quote(disk.Name)}' is not 1-63 characters of a-z, 0-9 and '-', not at the ends.");
        }
        else if (!names.Add(disk.Name))
        {
            violations.Add($"{field}.name", $"'{disk.Name}' is used by an earlier disk; names are unique in an instance.");
        }

        TextChecks.Known(disk.Kind, $"{field}.kind", violations);
        TextChecks.Range(disk.SizeBytes, 0, Limits.Instance.MaxDiskBytes, "bytes", $"{field}.size_bytes", violations);
        if (disk.Kind == DiskKind.Shared)
        {
            violations.Add($"{field}.kind", "no shared storage is available in this cluster; use DISK_KIND_LOCAL or DISK_KIND_EPHEMERAL.");
        }

        if (type == InstanceType.Container)
        {
            // A container's root is a snapshot of its image, which is dropped with it and has no size of its own.
            if (disk.Name.Length > 0 && disk.Name != Root)
            {
                violations.Add(field, "containers have their root disk only.");
            }

            TextChecks.Unsupported(disk.Kind == DiskKind.Local, "CONTAINER", $"{field}.kind", violations);
            TextChecks.Unsupported(disk.SizeBytes != 0, "CONTAINER", $"{field}.size_bytes", violations);
        }
        else if (disk.Name != Root && disk.SizeBytes == 0)
        {
            violations.Add($"{field}.size_bytes", "is required for every disk but the root disk, which may take its image's size.");
        }
    }
}
