using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Groups;

/// <summary>UpdateGroup, ScaleGroup, RollBackGroup and DeleteGroup: what is wanted of a group that exists.</summary>
internal sealed class GroupUpdates(GroupChange change, IClusterStore store, TimeProvider time)
{
    private static readonly string[] Changeable = ["metadata.labels", "metadata.annotations", "spec"];

    public Task<Group> UpdateAsync(UpdateGroupRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        CheckMask(request.UpdateMask, violations);
        var metadata = request.Group?.Metadata ?? new();
        var bare = request.Clone();
        bare.RequestId = "";
        var target = GroupTarget.Of(
            metadata.Project, metadata.Name, request.RequestId, metadata.ResourceVersion, bare, violations, "group.metadata.name");
        return change.ApplyAsync(
            target,
            (record, entry) =>
            {
                var wished = new Group { Metadata = record.Metadata, Spec = record.Spec };
                var asked = request.Group!.Clone();
                foreach (var path in request.UpdateMask.Paths)
                {
                    FieldMaskCopy.Copy(asked, wished, path);
                }

                record.Spec = Checked(wished, entry.Name);
                var with = GroupRevisions.Want(record, entry.Uid, time.GetUtcNow());
                return ValueTask.FromResult(record.Equals(entry.Record) ? null : with);
            },
            cancellationToken);
    }

    public Task<Group> ScaleAsync(ScaleGroupRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        GroupValidation.CheckCount(request.Count, gang: false, "count", violations);
        var bare = request.Clone();
        bare.RequestId = "";
        var target = GroupTarget.Of(request.Project, request.Group, request.RequestId, request.ResourceVersion, bare, violations);
        return change.ApplyAsync(
            target,
            (record, entry) =>
            {
                var wrong = new FieldViolations();
                GroupValidation.CheckCount(request.Count, record.Spec.Gang, "count", wrong);
                wrong.ThrowIfAny();
                record.Spec.Count = request.Count;
                return ValueTask.FromResult<IReadOnlyList<StoreOperation>?>(record.Equals(entry.Record) ? null : []);
            },
            cancellationToken);
    }

    public Task<Group> RollBackAsync(RollBackGroupRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        if (request.Revision < 0)
        {
            violations.Add("revision", $"{request.Revision} is negative; take one from the group's revisions, or 0 for the one before.");
        }

        var bare = request.Clone();
        bare.RequestId = "";
        var target = GroupTarget.Of(request.Project, request.Group, request.RequestId, request.ResourceVersion, bare, violations);
        return change.ApplyAsync(
            target,
            async (record, entry) =>
            {
                record.Spec.Template = await TemplateAsync(entry, RevisionOf(request.Revision, entry), cancellationToken);
                var with = GroupRevisions.Want(record, entry.Uid, time.GetUtcNow());
                return record.Equals(entry.Record) ? null : with;
            },
            cancellationToken);
    }

    public Task<Group> DeleteAsync(DeleteGroupRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = GroupTarget.Of(request.Project, request.Group, request.RequestId, request.ResourceVersion, bare, new());
        return change.ApplyAsync(
            target,
            (record, _) =>
            {
                (record.Metadata.DeletedAt, record.Orphan) = (time.GetUtcNow().ToTimestamp(), request.Orphan);
                return ValueTask.FromResult<IReadOnlyList<StoreOperation>?>([]);
            },
            cancellationToken,
            alsoDeleting: true);
    }

    private static void CheckMask(FieldMask? mask, FieldViolations violations)
    {
        if (mask is not { Paths.Count: > 0 })
        {
            violations.Add("update_mask", "is empty; name what to change, for example \"spec.count\" or \"spec.template\".");
        }

        foreach (var path in mask?.Paths ?? [])
        {
            if (!FieldMaskCopy.Exists(Group.Descriptor, path))
            {
                violations.Add("update_mask", $"'{Printable.Quote(path)}' is no field of a group.");
            }
            else if (!Array.Exists(Changeable, field => path == field || path.StartsWith(field + ".", StringComparison.Ordinal)))
            {
                violations.Add("update_mask", $"'{path}' cannot be changed; these can: {string.Join(", ", Changeable)}.");
            }
        }
    }

    /// <summary>What the update would make, by the rules of a create.</summary>
    private static GroupSpec Checked(Group wished, string name)
    {
        var violations = new FieldViolations();
        CreateValidation.CheckLabels(wished.Metadata.Labels, violations, "group.metadata.labels");
        CreateValidation.CheckAnnotations(wished.Metadata.Annotations, violations, "group.metadata.annotations");
        if (wished.Spec is { } spec)
        {
            GroupDefaults.FillSelectors(spec, name);
        }

        GroupValidation.Check(wished.Spec, "group.spec", violations);
        violations.ThrowIfAny();
        GroupDefaults.Fill(wished.Spec!);
        return wished.Spec!;
    }

    /// <param name="asked">0 means the one that was wanted before.</param>
    private static long RevisionOf(long asked, GroupEntry entry)
    {
        if (asked == 0)
        {
            return entry.Record.Revisions is [.., var before, _]
                ? before.Revision
                : throw ApiErrors.FailedPrecondition(
                    "NO_EARLIER_REVISION", $"Group '{entry.Name}' has had one template only; there is none to go back to.", GroupEntry.Kind, entry.Name);
        }

        return entry.Record.Revisions.Any(mark => mark.Revision == asked)
            ? asked
            : throw ApiErrors.Error(
                Google.Rpc.Code.NotFound,
                $"Group '{entry.Name}' has no revision {asked}; it has {string.Join(", ", entry.Record.Revisions.Select(mark => mark.Revision).Order())}.");
    }

    private async Task<InstanceTemplate> TemplateAsync(GroupEntry entry, long revision, CancellationToken cancellationToken)
    {
        var found = await store.RangeAsync(RangeQuery.Single(Keys.GroupRevision(entry.Uid, revision)), cancellationToken);
        return found.Items.Count > 0
            ? GroupRevisionRecord.Parser.ParseFrom(found.Items[0].Value.Span).Template
            : throw ApiErrors.Aborted("CONFLICT", $"Revision {revision} of group '{entry.Name}' was forgotten meanwhile; look at the group's revisions again.");
    }
}
