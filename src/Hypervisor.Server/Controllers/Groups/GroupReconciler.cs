using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>One look at one group: what is planned is written, and what there is to say of it.</summary>
internal sealed class GroupReconciler(ClusterState state, StoreWriter writer, MemberCreation creation, GangCreation gangs, TimeProvider time)
{
    private static readonly GroupStop QueueFull = new("QueueFull", "Too many instances wait for a node; members are made when fewer do.");

    /// <summary>Answers when the view includes what was written.</summary>
    /// <exception cref="StoreUnavailableException">What was on its way may have happened.</exception>
    /// <exception cref="StoreBusyException">Some of it did not happen.</exception>
    public async Task<GroupPass> ReconcileAsync(LeaderTerm term, string uid, GroupProgress progress, CancellationToken cancellationToken)
    {
        var view = state.View;
        return view.Group(uid) switch
        {
            null => GroupPass.Done,
            { Deleting: true } group => await EndAsync(term, view, group, cancellationToken),
            var group => await KeepAsync(term, view, group, progress, cancellationToken),
        };
    }

    private async Task<GroupPass> KeepAsync(
        LeaderTerm term, ClusterView view, GroupEntry group, GroupProgress progress, CancellationToken cancellationToken)
    {
        if (GroupConditions.IsSettled(group, view.TallyOf(group)))
        {
            progress.Forget(group.Uid);
            GangCreation.Forget(term, group.Uid);
            return GroupPass.Done;
        }

        var (wake, now) = (Limits.Control.ReconcilePeriod, time.GetUtcNow());
        var minReady = group.Spec.Update.MinReady.ToTimeSpan();
        var members = new List<Member>(view.TallyOf(group).Current);
        foreach (var member in view.MembersOf(group))
        {
            members.Add(Member.Of(member, minReady, now, ref wake));
        }

        var plan = GroupPlanner.Decide(GroupTargets.Of(group), members);
        if (group.StatusRecord?.FormingSince is { } since)
        {
            return await FormedAsync(term, view, group, since.ToDateTimeOffset(), incomplete: plan.Create > 0, cancellationToken);
        }

        var deleted = await WriteAsync(
            plan.Delete.Take(Limits.Groups.MembersPerPass).Select(id => MemberRemoval.Delete(view.Instance(id)!, now, term.Guard)), cancellationToken);
        var made = await CreateAsync(term, view, group, Math.Min(plan.Create, Limits.Groups.MembersPerPass), cancellationToken);
        var stop = made.Stop ?? Stalled(view, group, plan, members, progress, ref wake);
        var told = await TellAsync(term, group, GroupConditions.Of(group, view.TallyOf(group), plan, stop, now), cancellationToken);
        await state.WaitForRevisionAsync(Math.Max(Math.Max(deleted.Revision, made.Revision), told), cancellationToken);
        return deleted.Refused || made.Refused ? GroupPass.Unfinished
            : deleted.Any || made.Revision > 0 ? GroupPass.Continue
            : new(made.Again is { } again && again < wake ? again : wake, WaitsForRoom: made.Stop is not null);
    }

    private Task<MembersMade> CreateAsync(LeaderTerm term, ClusterView view, GroupEntry group, int count, CancellationToken cancellationToken)
    {
        if (count == 0 || !group.Spec.Gang)
        {
            GangCreation.Forget(term, group.Uid);
        }

        return (count, group.Spec.Gang) switch
        {
            (0, _) => Task.FromResult(default(MembersMade)),
            (_, false) when view.UnplacedCount >= Limits.Control.Pending => Task.FromResult(new MembersMade(0, Stop: QueueFull)),
            (_, false) => creation.CreateAsync(term, view, group, count, cancellationToken),
            _ => gangs.CreateAsync(term, view, group, count, since => FormAsync(term, group, since, cancellationToken), cancellationToken),
        };
    }

    private static GroupStop? Stalled(
        ClusterView view, GroupEntry group, GroupPlan plan, List<Member> members, GroupProgress progress, ref TimeSpan wake)
    {
        if (GroupConditions.IsComplete(GroupTargets.Of(group), view.TallyOf(group), plan))
        {
            progress.Forget(group.Uid);
            return null;
        }

        var left = group.Spec.Update.ProgressDeadline.ToTimeSpan() - progress.StandsStill(group, plan, members);
        if (left <= TimeSpan.Zero)
        {
            return GroupProgress.Stalled(group, view.MembersOf(group));
        }

        wake = wake < left ? wake : left;
        return null;
    }

    /// <summary>Notes that a gang is about to be made in several transactions.</summary>
    private async Task<bool> FormAsync(LeaderTerm term, GroupEntry group, DateTimeOffset since, CancellationToken cancellationToken)
    {
        var record = group.StatusRecord?.Clone() ?? new();
        record.FormingSince = since.ToTimestamp();
        var result = await writer.WriteAsync(Status(term, group, record), cancellationToken);
        await state.WaitForRevisionAsync(result.Revision, cancellationToken);
        return result.Succeeded;
    }

    /// <summary>A gang was made in several transactions: of one that is not whole, all that was made is taken back.</summary>
    private async Task<GroupPass> FormedAsync(
        LeaderTerm term, ClusterView view, GroupEntry group, DateTimeOffset since, bool incomplete, CancellationToken cancellationToken)
    {
        if (incomplete)
        {
            var taken = await WriteAsync(
                view.MembersOf(group).Where(member => !member.Deleting && member.CreatedAt >= since)
                    .Select(member => MemberRemoval.Delete(member, time.GetUtcNow(), term.Guard)),
                cancellationToken);
            if (taken.Any)
            {
                await state.WaitForRevisionAsync(taken.Revision, cancellationToken);
                return taken.Refused ? GroupPass.Unfinished : GroupPass.Continue;
            }
        }

        var record = group.StatusRecord!.Clone();
        record.FormingSince = null;
        var cleared = await WriteAsync([Status(term, group, record)], cancellationToken);
        await state.WaitForRevisionAsync(cleared.Revision, cancellationToken);
        return cleared.Refused ? GroupPass.Unfinished : GroupPass.Continue;
    }

    /// <returns>The revision of the write; 0 when there was nothing new to say.</returns>
    private async Task<long> TellAsync(
        LeaderTerm term, GroupEntry group, IReadOnlyList<Protocol.V1.Condition> conditions, CancellationToken cancellationToken)
    {
        var record = new GroupStatusRecord { Conditions = { conditions }, ObservedGeneration = group.Metadata.Generation };
        return record.Equals(group.StatusRecord) ? 0 : (await writer.WriteAsync(Status(term, group, record), cancellationToken)).Revision;
    }

    private async Task<GroupPass> EndAsync(LeaderTerm term, ClusterView view, GroupEntry group, CancellationToken cancellationToken)
    {
        GangCreation.Forget(term, group.Uid);
        var (tally, now) = (view.TallyOf(group), time.GetUtcNow());
        if (tally is { Current: 0, Deleting: 0 })
        {
            var removed = await WriteAsync([MemberRemoval.Group(group, term.Guard)], cancellationToken);
            await state.WaitForRevisionAsync(removed.Revision, cancellationToken);
            return removed.Refused ? GroupPass.Unfinished : GroupPass.Done;
        }

        var leaving = view.MembersOf(group).Where(member => group.Record.Orphan || !member.Deleting).Take(Limits.Groups.MembersPerPass);
        var written = await WriteAsync(
            leaving.Select(member => group.Record.Orphan ? MemberRemoval.LetGo(member, term.Guard) : MemberRemoval.Delete(member, now, term.Guard)),
            cancellationToken);
        await state.WaitForRevisionAsync(written.Revision, cancellationToken);
        return written.Refused ? GroupPass.Unfinished : written.Any ? GroupPass.Continue : GroupPass.Done;
    }

    private async Task<Written> WriteAsync(IEnumerable<StoreWrite> writes, CancellationToken cancellationToken)
    {
        var results = await Task.WhenAll(writes.Select(write => writer.WriteAsync(write, cancellationToken)));
        return results.Length == 0 ? default : new(results.Max(result => result.Revision), results.Any(result => !result.Succeeded));
    }

    private static StoreWrite Status(LeaderTerm term, GroupEntry group, GroupStatusRecord record) => new(
        [
            term.Guard,
            Compare.Modified(Keys.GroupSpec(group.Uid), group.SpecRevision),
            Compare.Modified(Keys.GroupStatus(group.Uid), group.StatusRevision),
        ],
        [new StoreOperation.Put(Keys.GroupStatus(group.Uid), record.ToByteArray())]);

    /// <param name="Revision">Of the last one; 0 when there was nothing to write.</param>
    private readonly record struct Written(long Revision, bool Refused)
    {
        public bool Any => Revision > 0;
    }
}
