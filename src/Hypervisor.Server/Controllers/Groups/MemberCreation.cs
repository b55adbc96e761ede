using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>What became of members that were to be made.</summary>
/// <param name="Revision">A view that has reached it shows what was made, or what was lost against. 0 when nothing was written.</param>
/// <param name="Refused">Something else changed meanwhile: some or all were not made.</param>
/// <param name="Stop">Why none was even tried.</param>
internal readonly record struct MembersMade(long Revision, bool Refused = false, GroupStop? Stop = null);

/// <summary>Makes members of groups, each with its first placement in its own transaction, several in one.</summary>
/// <param name="aliases">Null means that every image is called as it is written.</param>
internal sealed class MemberCreation(Placer placer, StoreWriter writer, IRandomSource random, TimeProvider time, ImageAliases? aliases = null)
{
    private const int SuffixLength = 8;

    /// <summary>Each gets a node if there is one, and waits for one otherwise.</summary>
    public Task<MembersMade> CreateAsync(LeaderTerm term, ClusterView view, GroupEntry group, int count, CancellationToken cancellationToken)
    {
        var drafts = Drafts(view, group, count, time.GetUtcNow());
        return WriteAsync(group, drafts.ConvertAll(draft => draft with { Proposal = Plan(term, draft) }), term, cancellationToken);
    }

    /// <summary>
    /// All get a node or none is made. Decided and reserved in one step; what takes several transactions is made in several, after
    /// <paramref name="begin"/>.
    /// </summary>
    /// <param name="begin">Told when the gang was decided, before the first of several transactions; false gives it up.</param>
    public async Task<MembersMade> CreateGangAsync(
        LeaderTerm term, ClusterView view, GroupEntry group, int count, Func<DateTimeOffset, Task<bool>> begin, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        var births = new List<InstanceBirth>(count);
        lock (term.Fleet.Gate)
        {
            foreach (var draft in Drafts(view, group, count, now))
            {
                births.Add(draft with { Proposal = Plan(term, draft) });
                if (births[^1].Proposal is not { Placement.Placement: { NodeUid.Length: > 0 } })
                {
                    break;
                }
            }
        }

        if (births[^1].Proposal?.Placement.Placement is var last && last is not { NodeUid.Length: > 0 })
        {
            Release(births);

            // Nothing is said of one before which others stand in line.
            return last is null
                ? new(0, Refused: true)
                : new(0, Stop: new("GangDoesNotFit", $"Of {count} members that need a node at once {births.Count - 1} find one; the next: {last.Message}"));
        }

        var begun = false;
        try
        {
            begun = births.Count <= PerWrite(group) || await begin(now);
        }
        finally
        {
            if (!begun)
            {
                Release(births);
            }
        }

        return begun ? await WriteAsync(group, births, term, cancellationToken) : new(0, Refused: true);
    }

    private static void Release(List<InstanceBirth> births) => births.ForEach(birth => birth.Proposal?.Settle(PlacementOutcome.Refused, 0));

    private static int PerWrite(GroupEntry group) =>
        Math.Clamp(Limits.Groups.BytesPerWrite / Math.Max(1, group.Spec.Template.CalculateSize()), 1, Limits.Groups.InstancesPerWrite);

    private PlacementPlan? Plan(LeaderTerm term, InstanceBirth draft) => placer.Plan(term, draft.Id, draft.Record, Epoch.None);

    private List<InstanceBirth> Drafts(ClusterView view, GroupEntry group, int count, DateTimeOffset now)
    {
        var drafts = new List<InstanceBirth>(count);
        for (var index = 0; index < count; index++)
        {
            var id = new InstanceId(random.NewUid());
            var template = group.Spec.Template;
            var metadata = new ObjectMeta
            {
                Name = $"{group.Name}-{id.Value[..SuffixLength]}",
                Project = group.Project,
                Labels = { template.Labels },
                Annotations = { template.Annotations },
                Owner = new() { Kind = GroupEntry.Kind, Name = group.Name, Uid = group.Uid, Revision = group.Record.Revision },
            };
            metadata.Labels[GroupLabel.Key] = group.Name;
            var record = InstanceBirths.Record(id, metadata, template.Spec, view, aliases, now);
            drafts.Add(new(id, record, InstanceBirths.PinnedBy(record, view), null));
        }

        return drafts;
    }

    /// <remarks>All are begun before the first is awaited: that is what lets the writer join them.</remarks>
    private async Task<MembersMade> WriteAsync(GroupEntry group, List<InstanceBirth> births, LeaderTerm term, CancellationToken cancellationToken)
    {
        Compare[] guards = [term.Guard, Compare.Modified(Keys.GroupSpec(group.Uid), group.SpecRevision)];
        var written = await Task.WhenAll(births.Chunk(PerWrite(group)).Select(part =>
            InstanceBirths.WriteAsync(writer, [.. part.Select(birth => birth with { Guards = guards })], cancellationToken)));
        return new(written.Max(result => result.Revision), written.Any(result => !result.Succeeded));
    }
}
