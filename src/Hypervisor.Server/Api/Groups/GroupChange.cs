using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Groups;

/// <summary>What is changed of a group, or the refusal of it by an exception.</summary>
/// <param name="record">To be changed.</param>
/// <param name="entry">The group as it is.</param>
/// <returns>What has to be written with the record; null when nothing was changed.</returns>
internal delegate ValueTask<IReadOnlyList<StoreOperation>?> ChangeOfGroup(GroupRecord record, GroupEntry entry);

/// <summary>Changes one group: once per request, on the version that the change was decided on.</summary>
internal sealed class GroupChange(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    /// <param name="alsoDeleting">Answers with a group that is being deleted, unchanged, instead of refusing.</param>
    public async Task<Group> ApplyAsync(GroupTarget target, ChangeOfGroup change, CancellationToken cancellationToken, bool alsoDeleting = false)
    {
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            var entry = GroupAddress.Resolve(view, target.Project, target.Group);
            if (target.Key.IsRepeated(entry.Record.Requests) || (alsoDeleting && entry.Deleting))
            {
                return GroupView.Render(entry, view.TallyOf(entry));
            }

            target.CheckVersion(entry);
            if (entry.Deleting)
            {
                throw ApiErrors.FailedPrecondition(
                    "BEING_DELETED", $"Group '{entry.Name}' is being deleted; nothing else can be asked of it.", GroupEntry.Kind, entry.Name);
            }

            var record = entry.Record.Clone();
            var with = await change(record, entry);
            if (with is null && target.Key.Id.Length == 0)
            {
                return GroupView.Render(entry, view.TallyOf(entry));
            }

            // A request that finds its wish fulfilled is remembered too: repeated later, it must not undo what came between.
            record.Metadata.Generation += with is null ? 0 : 1;
            target.Key.Remember(record.Requests, time.GetUtcNow());
            var compares = new List<Compare> { Compare.Modified(Keys.GroupSpec(entry.Uid), entry.SpecRevision) };
            if (target.ResourceVersion != 0)
            {
                compares.Add(Compare.Modified(Keys.GroupStatus(entry.Uid), entry.StatusRevision));
            }

            var result = await writer.WriteAsync(
                new(compares, [new StoreOperation.Put(Keys.GroupSpec(entry.Uid), record.ToByteArray()), .. with ?? []]), cancellationToken);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                var current = after.Group(entry.Uid) ?? entry with { Record = record };
                return GroupView.Render(current, after.TallyOf(current));
            }
        }

        throw ApiErrors.Aborted("CONFLICT", $"Group '{target.Group}' is being changed by others all the time; try again.");
    }
}
