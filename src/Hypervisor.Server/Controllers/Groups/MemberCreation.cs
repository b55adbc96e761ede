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
/// <param name="Stop">Why none is made yet.</param>
/// <param name="Again">When to try again, whatever happens; null leaves that to others.</param>
internal readonly record struct MembersMade(long Revision, bool Refused = false, GroupStop? Stop = null, TimeSpan? Again = null);

/// <summary>Makes members of groups, each with its first placement in its own transaction, several in one.</summary>
/// <param name="aliases">Null means that every image is called as it is written.</param>
internal sealed class MemberCreation(Placer placer, StoreWriter writer, IRandomSource random, TimeProvider time, ImageAliases? aliases = null)
{
    /// <summary>Of the uid's end: its beginning is the time.</summary>
    private const int SuffixLength = 8;

    /// <summary>So many are made in one transaction.</summary>
    public static int PerWrite(GroupEntry group) =>
        Math.Clamp(Limits.Groups.BytesPerWrite / Math.Max(1, group.Spec.Template.CalculateSize()), 1, Limits.Groups.InstancesPerWrite);

    /// <summary>Each gets a node if there is one, and waits for one otherwise.</summary>
    public Task<MembersMade> CreateAsync(LeaderTerm term, ClusterView view, GroupEntry group, int count, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        var drafts = Drafts(view, group, Enumerable.Range(0, count).Select(_ => new InstanceId(random.NewOrderedUid(now))), now);
        return WriteAsync(group, drafts.ConvertAll(draft => draft with { Proposal = placer.Plan(term, draft.Id, draft.Record, Epoch.None) }), term, cancellationToken);
    }

    /// <summary>Members that nobody has decided about yet.</summary>
    public List<InstanceBirth> Drafts(ClusterView view, GroupEntry group, IEnumerable<InstanceId> ids, DateTimeOffset now)
    {
        var drafts = new List<InstanceBirth>();
        foreach (var id in ids)
        {
            var template = group.Spec.Template;
            var metadata = new ObjectMeta
            {
                Name = $"{group.Name}-{id.Value[^SuffixLength..]}",
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
    public async Task<MembersMade> WriteAsync(GroupEntry group, List<InstanceBirth> births, LeaderTerm term, CancellationToken cancellationToken)
    {
        Compare[] guards = [term.Guard, Compare.Modified(Keys.GroupSpec(group.Uid), group.SpecRevision)];
        var written = await Task.WhenAll(births.Chunk(PerWrite(group)).Select(part =>
            InstanceBirths.WriteAsync(writer, [.. part.Select(birth => birth with { Guards = guards })], cancellationToken)));
        return new(written.Max(result => result.Revision), written.Any(result => !result.Succeeded));
    }
}
