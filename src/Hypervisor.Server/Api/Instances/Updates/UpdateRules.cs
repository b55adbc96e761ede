using Google.Protobuf;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>What an update of a field means for an instance that runs.</summary>
internal enum UpdateEffect
{
    /// <summary>Takes effect while it runs.</summary>
    Live,

    /// <summary>Takes effect when its process is started anew.</summary>
    Restart,

    /// <summary>Is what the instance is; another one is another instance.</summary>
    Never,
}

/// <summary>Which fields of an instance can be updated, and what of a running one has to end for it.</summary>
internal static class UpdateRules
{
    public const string Labels = "metadata.labels";
    public const string Annotations = "metadata.annotations";

    // The longest beginning counts. A field that is not listed needs a restart: that is always right for what a process is made of.
    private static readonly (string Path, UpdateEffect Effect, string Instead)[] Fields =
    [
        (Labels, UpdateEffect.Live, ""),
        (Annotations, UpdateEffect.Live, ""),
        ("metadata", UpdateEffect.Never, "of the metadata, labels and annotations can be changed"),
        ("spec.type", UpdateEffect.Never, "create another instance"),
        ("spec.image", UpdateEffect.Never, "the root disk is made of it; create another instance"),
        ("spec.disks", UpdateEffect.Never, "create another instance"),
        ("spec.desired_state", UpdateEffect.Never, "call StartInstance, StopInstance, PauseInstance, SuspendInstance or ResumeInstance"),
        ("spec.restart_generation", UpdateEffect.Never, "call RestartInstance"),
        ("spec.image_digest", UpdateEffect.Never, "it is set by the server"),
        ("spec.snapshots", UpdateEffect.Never, "call CreateSnapshot or DeleteSnapshot"),
        ("spec.restore", UpdateEffect.Never, "call RestoreSnapshot"),
        ("spec.source", UpdateEffect.Never, "call CloneInstance"),
        ("spec.resources", UpdateEffect.Live, ""),

        // A process has its devices from its start to its end.
        ("spec.resources.devices", UpdateEffect.Restart, ""),
        ("spec.security.pids_limit", UpdateEffect.Live, ""),
        ("spec.network.ports", UpdateEffect.Live, ""),
        ("spec.network.rates", UpdateEffect.Live, ""),
        ("spec.constraints", UpdateEffect.Live, ""),
        ("spec.stop", UpdateEffect.Live, ""),
        ("spec.on_disconnect", UpdateEffect.Live, ""),
        ("spec.restart", UpdateEffect.Live, ""),
        ("spec.health", UpdateEffect.Live, ""),
        ("placement", UpdateEffect.Never, "the control plane decides it"),
        ("status", UpdateEffect.Never, "it is what was observed"),
    ];

    private static readonly string[] RuntimeLimits = ["spec.resources", "spec.security.pids_limit"];

    /// <summary>Of one path of a mask, as far as it can be told before the values are known.</summary>
    /// <returns>With Never, what to do instead.</returns>
    public static (UpdateEffect Effect, string Instead) Of(string path)
    {
        var rule = Fields.Where(field => Covers(field.Path, path)).OrderByDescending(field => field.Path.Length).FirstOrDefault();
        return rule.Path is null ? (UpdateEffect.Restart, "") : (rule.Effect, rule.Instead);
    }

    /// <summary>The fields that changed and that a process which runs does not take.</summary>
    public static IReadOnlyList<string> RestartRequired(InstanceSpec before, InstanceSpec after)
    {
        var changed = new List<string>();
        Differences(before, after, "spec", changed);
        return [.. changed.Where(path => NeedsRestart(path, after.Type))];
    }

    /// <summary>The fields below a mask's path that no update may change, when their values differ.</summary>
    public static IEnumerable<string> Forbidden(InstanceSpec before, InstanceSpec after)
    {
        var changed = new List<string>();
        Differences(before, after, "spec", changed);
        return changed.Where(path => Of(path).Effect == UpdateEffect.Never);
    }

    // Only the container runtime changes limits of what runs.
    private static bool NeedsRestart(string path, InstanceType type) =>
        Of(path).Effect == UpdateEffect.Restart
        || (type != InstanceType.Container && RuntimeLimits.Any(limit => Covers(limit, path)));

    private static bool Covers(string rule, string path) =>
        path.StartsWith(rule, StringComparison.Ordinal) && (path.Length == rule.Length || path[rule.Length] is '.' or '_');

    private static void Differences(IMessage? before, IMessage? after, string path, List<string> changed)
    {
        foreach (var field in (after ?? before)!.Descriptor.Fields.InFieldNumberOrder())
        {
            var (old, now) = (before is null ? null : field.Accessor.GetValue(before), after is null ? null : field.Accessor.GetValue(after));
            var here = $"{path}.{field.Name}";
            if (field is { FieldType: Google.Protobuf.Reflection.FieldType.Message, IsRepeated: false }
                && (old ?? now) is IMessage && field.MessageType.File.Package != "google.protobuf")
            {
                Differences((IMessage?)old, (IMessage?)now, here, changed);
            }
            else if (!Equals(old ?? Default(before, after, field), now ?? Default(before, after, field)))
            {
                changed.Add(here);
            }
        }
    }

    // Of an absent message every field has its default.
    private static object? Default(IMessage? before, IMessage? after, Google.Protobuf.Reflection.FieldDescriptor field) =>
        before is null || after is null ? field.Accessor.GetValue(field.ContainingType.Parser.ParseFrom(ByteString.Empty)) : null;
}
