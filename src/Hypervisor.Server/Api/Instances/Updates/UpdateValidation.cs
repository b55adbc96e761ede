using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>Everything that may be wrong with an update, found at once: first of the request alone, then of what it would make.</summary>
internal static class UpdateValidation
{
    public static MutationTarget Check(UpdateInstanceRequest request)
    {
        var violations = new FieldViolations();
        var metadata = request.Instance?.Metadata ?? new();
        var project = Projects.Resolve(metadata.Project, violations);
        InstanceAddress.Check(metadata.Name, violations, "instance.metadata.name");
        RequestChecks.CheckRequestId(request.RequestId, violations);
        RequestChecks.CheckVersion(metadata.ResourceVersion, violations);
        if (request.UpdateMask is not { Paths.Count: > 0 })
        {
            violations.Add("update_mask", "is empty; name what to change, for example \"metadata.labels\" or \"spec.resources.memory_bytes\".");
        }

        foreach (var path in request.UpdateMask?.Paths ?? [])
        {
            if (!FieldMaskCopy.Exists(Instance.Descriptor, path))
            {
                violations.Add("update_mask", $"'{Printable.Quote(path)}' is no field of an instance.");
            }
            else if (UpdateRules.Of(path) is { Effect: UpdateEffect.Never, Instead: var instead })
            {
                violations.Add("update_mask", $"'{path}' cannot be changed: {instead}.");
            }
        }

        violations.ThrowIfAny();
        var bare = request.Clone();
        (bare.RequestId, bare.DryRun) = ("", false);
        return new(project, metadata.Name, RequestKey.Of(request.RequestId, bare), metadata.ResourceVersion);
    }

    /// <summary>What the update would make, by the rules of a create.</summary>
    public static void CheckResult(Instance wished, InstanceEntry present)
    {
        var violations = new FieldViolations();
        CreateValidation.CheckLabels(wished.Metadata.Labels, violations, "instance.metadata.labels");
        CreateValidation.CheckReserved(wished.Metadata.Labels, violations, "instance.metadata.labels");
        CreateValidation.CheckAnnotations(wished.Metadata.Annotations, violations, "instance.metadata.annotations");

        // "spec" as a whole names also what cannot change; leaving it as it was is no change.
        wished.Spec ??= new();
        Keep(wished.Spec, present.Spec);
        var asCreated = wished.Spec.Clone();
        (asCreated.RestartGeneration, asCreated.ImageDigest, asCreated.Restore, asCreated.Source) = (0, "", null, null);
        asCreated.Snapshots.Clear();
        asCreated.DesiredState = DesiredState.Unspecified;
        SpecValidation.Check(asCreated, "instance.spec", violations);
        if (wished.CalculateSize() > Limits.Instance.RequestBytes)
        {
            violations.Add("instance", $"would take {wished.CalculateSize()} bytes; at most {Limits.Instance.RequestBytes} are allowed.");
        }

        violations.ThrowIfAny();
        var forbidden = UpdateRules.Forbidden(SpecDefaults.Fill(present.Spec), SpecDefaults.Fill(wished.Spec)).ToList();
        foreach (var path in forbidden)
        {
            violations.Add($"instance.{path}", $"cannot be changed: {UpdateRules.Of(path).Instead}.");
        }

        violations.ThrowIfAny();
    }

    // What a client that sends a whole spec leaves out, since it cannot or need not give it.
    private static void Keep(InstanceSpec wished, InstanceSpec present)
    {
        wished.Type = wished.Type == InstanceType.Unspecified ? present.Type : wished.Type;
        wished.Image = wished.Image.Length == 0 ? present.Image : wished.Image;
        wished.ImageDigest = present.ImageDigest;
        wished.RestartGeneration = present.RestartGeneration;
        wished.DesiredState = wished.DesiredState == DesiredState.Unspecified ? present.DesiredState : wished.DesiredState;
        (wished.Restore, wished.Source) = (present.Restore, present.Source);
        wished.Snapshots.Clear();
        wished.Snapshots.Add(present.Snapshots);
        if (wished.Disks.Count == 0)
        {
            wished.Disks.Add(present.Disks);
        }
    }
}
