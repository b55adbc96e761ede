using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Events;

/// <summary>What is worth telling of a group's change: what was asked of it, and how it gets on.</summary>
internal static class GroupEvents
{
    public static IEnumerable<Occurrence> Of(EntryChange<GroupEntry> change)
    {
        var (before, after) = change;
        if (after is null)
        {
            yield return Group(before!, "Deleted", "Nothing of the group is left.");
            yield break;
        }

        if (before is null)
        {
            yield return Group(after, "Created", $"Created with {after.Spec.Count} members of image '{after.Spec.Template.Spec.Image}'.");
        }
        else if (before.Spec.Count != after.Spec.Count)
        {
            yield return Group(after, "Scaled", $"Scaled from {before.Spec.Count} to {after.Spec.Count} members.");
        }

        if (before is not null && before.Record.Revision != after.Record.Revision)
        {
            yield return Group(after, "TemplateChanged", $"Revision {after.Record.Revision} of the template is wanted instead of {before.Record.Revision}.");
        }

        if (after.Deleting && before?.Deleting != true)
        {
            yield return Group(after, "Deleting", after.Record.Orphan ? "Deletion was asked for; its members stay." : "Deletion was asked for.");
        }

        if (Progress(after) is { } now && now.Reason != Progress(before)?.Reason
            && (now.Status == ConditionStatus.False || now.Reason is GroupConditions.Complete or GroupConditions.GangWaitsForRoom))
        {
            yield return Group(after, now.Reason, now.Message, now.Status == ConditionStatus.False ? EventSeverity.Warning : EventSeverity.Info);
        }
    }

    private static Condition? Progress(GroupEntry? group) =>
        group?.StatusRecord?.Conditions.FirstOrDefault(condition => condition.Type == GroupConditions.Progressing);

    private static Occurrence Group(GroupEntry group, string reason, string message, EventSeverity severity = EventSeverity.Info) =>
        new(GroupEntry.Kind, group.Uid, group.Name, group.Project, reason, message, severity);
}
