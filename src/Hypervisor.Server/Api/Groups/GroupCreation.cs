using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Groups;

/// <summary>CreateGroup: writes what is wanted; the leader makes the members.</summary>
internal sealed class GroupCreation(ViewReads reads, StoreWriter writer, IRandomSource random, TimeProvider time)
{
    public async Task<Group> CreateAsync(CreateGroupRequest request, CancellationToken cancellationToken)
    {
        var (project, spec, key) = Check(request);
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (view.GroupByName(project, request.Name) is { } existing)
            {
                return key.IsRepeated(existing.Record.Requests)
                    ? GroupView.Render(existing, view.TallyOf(existing))
                    : throw ApiErrors.AlreadyExists(
                        GroupEntry.Kind, request.Name,
                        $"Group '{request.Name}' exists in project '{project}'{(existing.Deleting ? " and is being deleted" : "")}; take another name.");
            }

            var (uid, now) = (random.NewUid(), time.GetUtcNow());
            var record = new GroupRecord
            {
                Metadata = new()
                {
                    Name = request.Name,
                    Project = project,
                    Uid = uid,
                    Labels = { request.Labels },
                    Annotations = { request.Annotations },
                    Generation = 1,
                    CreatedAt = now.ToTimestamp(),
                },
                Spec = spec.Clone(),
            };
            key.Remember(record.Requests, now);
            var revision = GroupRevisions.Want(record, uid, now);
            var name = Keys.GroupName(project, request.Name);
            var written = await writer.WriteAsync(
                new(
                    [Compare.Absent(name)],
                    [
                        new StoreOperation.Put(Keys.GroupSpec(uid), record.ToByteArray()),
                        new StoreOperation.Put(name, new NameRecord { Uid = uid }.ToByteArray()),
                        .. revision,
                    ]),
                cancellationToken);
            var after = await reads.IncludingAsync(written.Revision, cancellationToken);
            if (written.Succeeded)
            {
                var entry = after.Group(uid) ?? new(uid, record, written.Revision, null, 0, ResourceVersion.Of(after.Incarnation, written.Revision));
                return GroupView.Render(entry, after.TallyOf(entry));
            }
        }

        throw ApiErrors.Aborted("CONFLICT", $"Group '{request.Name}' is being created and deleted by others all the time; try again.");
    }

    private static (string Project, GroupSpec Spec, RequestKey Key) Check(CreateGroupRequest request)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        GroupValidation.CheckName(request.Name, violations);
        CreateValidation.CheckLabels(request.Labels, violations);
        CreateValidation.CheckAnnotations(request.Annotations, violations);
        RequestChecks.CheckRequestId(request.RequestId, violations);
        var spec = request.Spec?.Clone();
        if (spec is not null)
        {
            GroupDefaults.FillSelectors(spec, request.Name);
        }

        GroupValidation.Check(spec, "spec", violations);
        violations.ThrowIfAny();
        GroupDefaults.Fill(spec!);
        var bare = request.Clone();
        (bare.RequestId, bare.Project) = ("", project);
        return (project, spec!, RequestKey.Of(request.RequestId, bare));
    }
}
