using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances.Snapshots;

/// <summary>Snapshots as desired state: which there shall be, and to which one an instance shall be put back.</summary>
internal sealed class InstanceSnapshots(ViewReads reads, StoreWriter writer, IRandomSource random, TimeProvider time)
{
    private readonly SpecChange _changes = new(reads, writer, time);

    public Task<Instance> CreateAsync(CreateSnapshotRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        if (!LabelSyntax.IsDnsLabel(request.Name))
        {
            violations.Add("name", request.Name.Length == 0
                ? "is required: 1-63 characters of a-z, 0-9 and '-', not at the ends."
                : $"'{Printable.Quote(request.Name)}' is not 1-63 characters of a-z, 0-9 and '-', not at the ends.");
        }

        violations.ThrowIfAny();
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        var uid = random.NewUid();
        return _changes.ApplyAsync(target, (spec, entry, _) =>
        {
            SnapshotRules.CheckCreate(entry, request.Name, request.Memory);
            spec.Snapshots.Add(new SnapshotSpec
            {
                Name = request.Name,
                Uid = uid,
                Memory = request.Memory,
                CreatedAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()),
                Epoch = entry.Epoch.Value,
            });
            return true;
        }, cancellationToken);
    }

    public async Task<ListSnapshotsResponse> ListAsync(ListSnapshotsRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        InstanceAddress.Check(request.Instance, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        var entry = InstanceAddress.Resolve(view, project, request.Instance);
        return new ListSnapshotsResponse
        {
            Snapshots =
            {
                entry.Spec.Snapshots.Select(snapshot => new Snapshot { Spec = snapshot.Clone(), Status = SnapshotRules.StatusOf(entry, snapshot) }),
            },
        };
    }

    public Task<Instance> DeleteAsync(DeleteSnapshotRequest request, CancellationToken cancellationToken)
    {
        CheckAddress(request.Snapshot);
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return _changes.ApplyAsync(target, (spec, entry, view) =>
        {
            var snapshot = SnapshotRules.Find(spec, entry, request.Snapshot);
            SnapshotRules.CheckDelete(entry, snapshot, view);
            return spec.Snapshots.Remove(snapshot);
        }, cancellationToken);
    }

    public Task<Instance> RestoreAsync(RestoreSnapshotRequest request, CancellationToken cancellationToken)
    {
        CheckAddress(request.Snapshot);
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return _changes.ApplyAsync(target, (spec, entry, _) =>
        {
            var snapshot = SnapshotRules.Find(spec, entry, request.Snapshot);
            var status = SnapshotRules.Ready(entry, snapshot);
            spec.Restore = new RestoreSpec { SnapshotUid = snapshot.Uid, Generation = (spec.Restore?.Generation ?? 0) + 1 };
            if (status.Memory && spec.DesiredState == DesiredState.Stopped)
            {
                // What is stopped has no memory: it would be put back only to be given up.
                spec.DesiredState = DesiredState.Running;
            }

            return true;
        }, cancellationToken);
    }

    private static void CheckAddress(string snapshot)
    {
        var violations = new FieldViolations();
        InstanceAddress.Check(snapshot, violations, "snapshot");
        violations.ThrowIfAny();
    }
}
