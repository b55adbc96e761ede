using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Groups;

/// <summary>What users see of a group: a pure function of its records and its tally.</summary>
internal static class GroupView
{
    public static Group Render(GroupEntry group, GroupTally tally)
    {
        var metadata = group.Metadata.Clone();
        metadata.ResourceVersion = group.ResourceVersion.Value;
        var status = new GroupStatus
        {
            Desired = group.Spec.Count,
            Current = tally.Current,
            Ready = tally.Ready,
            Updated = tally.Of(group.Record.Revision),
            Unavailable = Math.Max(0, group.Spec.Count - tally.Ready),
            Deleting = tally.Deleting,
            Revision = group.Record.Revision,
            ObservedGeneration = group.StatusRecord?.ObservedGeneration ?? 0,
        };
        status.Conditions.AddRange(group.StatusRecord?.Conditions.Select(condition => condition.Clone()) ?? []);
        return new() { Metadata = metadata, Spec = group.Spec.Clone(), Status = status };
    }
}
