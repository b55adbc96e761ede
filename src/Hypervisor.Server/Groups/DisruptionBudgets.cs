using Hypervisor.Protocol;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Groups;

/// <summary>Whether a group lets one of its members be disturbed: stopped, suspended or moved for the sake of something else.</summary>
internal static class DisruptionBudgets
{
    /// <summary>
    /// Whether the instance may be disturbed now. What belongs to no group always may, and so may what is not ready: nothing is lost with it.
    /// </summary>
    /// <param name="chosen">Instances that are about to be disturbed and that the view still shows as they were; null means none.</param>
    /// <remarks>Costs as much as <paramref name="chosen"/> has entries, however large the group is.</remarks>
    public static bool MayDisturb(ClusterView view, InstanceEntry instance, IReadOnlySet<InstanceId>? chosen = null)
    {
        if (instance.GroupUid is not { } uid || view.Group(uid) is not { Spec.Disruption: { } budget } group || !MemberState.IsReady(instance))
        {
            return true;
        }

        var taken = chosen?.Count(id => id != instance.Id && view.Instance(id) is { } other && other.GroupUid == uid && MemberState.IsReady(other)) ?? 0;
        return view.TallyOf(group).Ready - taken - 1 >= group.Spec.Count - budget.MaxUnavailable;
    }
}
