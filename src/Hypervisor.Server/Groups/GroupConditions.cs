using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Groups;

/// <summary>What keeps a group from what it is to have.</summary>
/// <param name="Reason">CamelCase.</param>
/// <param name="Message">A sentence.</param>
/// <param name="GetsOn">Only for a while: somebody does something about it.</param>
internal sealed record GroupStop(string Reason, string Message, bool GetsOn = false);

/// <summary>
/// The conditions of a group. Their messages name no number that changes with each member: what they say is written, and the numbers are counted
/// by whoever asks.
/// </summary>
internal static class GroupConditions
{
    public const string Progressing = "Progressing";
    public const string Available = "Available";
    public const string Complete = "Complete";
    public const string GangDoesNotFit = "GangDoesNotFit";
    public const string GangWaitsForRoom = "GangWaitsForRoom";

    /// <param name="stop">Null while nothing is in the way.</param>
    public static IReadOnlyList<Condition> Of(GroupEntry group, GroupTally tally, GroupPlan plan, GroupStop? stop, DateTimeOffset now)
    {
        var targets = GroupTargets.Of(group);
        var enough = tally.Ready >= targets.MinAvailable;
        return
        [
            enough
                ? New(group, Available, ConditionStatus.True, "EnoughReady", "", now)
                : New(group, Available, ConditionStatus.False, "TooFewReady", $"At least {targets.MinAvailable} of {targets.Count} have to be ready.", now),
            stop is null
                ? Progress(group, targets, tally, plan, now)
                : New(group, Progressing, stop.GetsOn ? ConditionStatus.True : ConditionStatus.False, stop.Reason, stop.Message, now),
        ];
    }

    /// <summary>Nothing is to be done or waited for but what is being deleted.</summary>
    public static bool IsComplete(GroupTargets targets, GroupTally tally, GroupPlan plan) =>
        plan.Idle && plan.Outdated == 0 && tally.Current == targets.Count && tally.Ready == targets.Count;

    /// <summary>That it is complete is known from the tally and said already: nobody has to look at its members.</summary>
    public static bool IsSettled(GroupEntry group, GroupTally tally) =>
        (tally.Current, tally.Ready, tally.Of(group.Record.Revision)) == (group.Spec.Count, group.Spec.Count, group.Spec.Count)
        && group.StatusRecord is { FormingSince: null } status
        && status.ObservedGeneration == group.Metadata.Generation
        && status.Conditions.All(condition => condition.Status == ConditionStatus.True)
        && status.Conditions.Any(condition => condition.Reason == Complete);

    private static Condition Progress(GroupEntry group, GroupTargets targets, GroupTally tally, GroupPlan plan, DateTimeOffset now)
    {
        if (IsComplete(targets, tally, plan))
        {
            return New(group, Progressing, ConditionStatus.True, Complete, "All members have the wanted template and are ready.", now);
        }

        return plan.Outdated > 0
            ? New(
                group, Progressing, ConditionStatus.True, "Updating",
                $"Members of earlier templates are replaced, with at most {targets.Surge} more and {targets.MaxUnavailable} fewer than {targets.Count} meanwhile.", now)
            : New(group, Progressing, ConditionStatus.True, "Scaling", "Members are made or removed, or are not ready yet.", now);
    }

    private static Condition New(GroupEntry group, string type, ConditionStatus status, string reason, string message, DateTimeOffset now)
    {
        var before = group.StatusRecord?.Conditions.FirstOrDefault(condition => condition.Type == type);
        return new()
        {
            Type = type,
            Status = status,
            Reason = reason,
            Message = message,
            LastTransitionAt = before?.Status == status ? before.LastTransitionAt : now.ToTimestamp(),
        };
    }
}
