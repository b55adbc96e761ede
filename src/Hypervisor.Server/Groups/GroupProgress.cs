using Hypervisor.Server.State;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Groups;

/// <summary>
/// When groups last got on. Remembered by the leader only, so that members that become available cost no write: the next leader gives each group
/// its whole deadline again.
/// </summary>
internal sealed class GroupProgress(TimeProvider time)
{
    private readonly Dictionary<string, (Mark Mark, long At)> _last = new(StringComparer.Ordinal);

    /// <summary>How long the group has stood still; zero when it has got on since this was asked last.</summary>
    public TimeSpan StandsStill(GroupEntry group, GroupPlan plan, IReadOnlyList<Member> members)
    {
        var mark = new Mark(
            group.Metadata.Generation,
            members.Count(member => member.Phase == MemberPhase.Available && member.Revision == group.Record.Revision),
            plan.Outdated);
        if (!_last.TryGetValue(group.Uid, out var last) || last.Mark != mark)
        {
            _last[group.Uid] = last = (mark, time.GetTimestamp());
        }

        return time.GetElapsedTime(last.At);
    }

    public void Forget(string uid) => _last.Remove(uid);

    /// <summary>Why it stands still, with the first member that says something of itself.</summary>
    public static GroupStop Stalled(GroupEntry group, IEnumerable<InstanceEntry> members)
    {
        var stalled = $"No member became available for {Text(group.Spec.Update.ProgressDeadline.ToTimeSpan())}";
        foreach (var member in members.Where(member => !member.Deleting && member.OwnerRevision == group.Record.Revision && !MemberState.IsReady(member)))
        {
            var (state, reason, message) = InstanceView.Judge(member);
            var why = reason.Length > 0 ? $" ({reason}): {message}" : ".";
            return new("Stalled", $"{stalled}; {member.Name} is {state.ToString().ToUpperInvariant()}{why}");
        }

        return new("Stalled", stalled + ".");
    }

    private static string Text(TimeSpan span) => span.TotalMinutes >= 1 && span.Seconds == 0
        ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{span.TotalMinutes:0} min")
        : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{span.TotalSeconds:0.#} s");

    private readonly record struct Mark(long Generation, int Available, int Outdated);
}
