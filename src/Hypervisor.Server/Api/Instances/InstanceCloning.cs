using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Snapshots;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances;

/// <summary>CloneInstance: another instance that begins with copies of one's disks.</summary>
internal sealed class InstanceCloning(InstanceCreation creation)
{
    public Task<Instance> CloneAsync(CloneInstanceRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        InstanceAddress.Check(request.Instance, violations);
        if (!LabelSyntax.IsDnsLabel(request.Name))
        {
            violations.Add("name", request.Name.Length == 0
                ? "is required: 1-63 characters of a-z, 0-9 and '-', not at the ends."
                : $"'{Printable.Quote(request.Name)}' is not 1-63 characters of a-z, 0-9 and '-', not at the ends.");
        }

        if (request.Snapshot.Length > 0)
        {
            InstanceAddress.Check(request.Snapshot, violations, "snapshot");
        }

        RequestChecks.CheckRequestId(request.RequestId, violations);
        CreateValidation.CheckLabels(request.Labels, violations);
        CreateValidation.CheckReserved(request.Labels, violations);
        violations.ThrowIfAny();
        var bare = request.Clone();
        (bare.RequestId, bare.Project) = ("", project);
        var create = new CreateInstanceRequest { Name = request.Name, Labels = { request.Labels }, RequestId = request.RequestId, Spec = new() };
        return creation.CreateFromAsync(
            create, project, RequestKey.Of(request.RequestId, bare), (view, _) => SpecOf(view, project, request), cancellationToken);
    }

    private static (InstanceSpec Spec, IReadOnlyList<Compare> Guards) SpecOf(ClusterView view, string project, CloneInstanceRequest request)
    {
        var source = InstanceAddress.Resolve(view, project, request.Instance);
        if (source.Deleting)
        {
            throw SnapshotRules.Refusal(source, "BEING_DELETED", "is being deleted; nothing can be made of it");
        }

        SnapshotRules.RefuseContainer(source, "keeps nothing but its image; create another instance of that");
        if (source.NodeId is null)
        {
            throw SnapshotRules.Refusal(source, "NOT_PLACED", "is on no node yet, so it has no disks; try again when it has a node");
        }

        // Nobody else may change it before the clone is written: a snapshot may go, or what was stopped be started.
        return (SpecOf(source, request.Snapshot), [Compare.Modified(source.SpecKey, source.SpecRevision)]);
    }

    private static InstanceSpec SpecOf(InstanceEntry source, string snapshot)
    {
        var spec = source.Spec.Clone();
        spec.Source = new CloneSource { InstanceUid = source.Id.Value };
        if (snapshot.Length > 0)
        {
            var found = SnapshotRules.Find(spec, source, snapshot);
            SnapshotRules.Ready(source, found);
            spec.Source.SnapshotUid = found.Uid;
        }
        else if (source.Spec.DesiredState != DesiredState.Stopped)
        {
            throw SnapshotRules.Refusal(source, "NOT_STOPPED", "may be writing to its disks; name a snapshot to be cloned, or stop it first");
        }
        else
        {
            SnapshotRules.RefuseWhileRestoring(source);
        }

        spec.Snapshots.Clear();
        (spec.Restore, spec.RestartGeneration, spec.DesiredState) = (null, 0, DesiredState.Running);

        // There is one of each on the node already.
        spec.Network?.Ports.Clear();
        if (spec.Process is { } process)
        {
            process.Hostname = "";
        }

        // Another image would make another disk: what the copy lies over is what the source's was made of.
        spec.ImagePullPolicy = spec.ImagePullPolicy == ImagePullPolicy.Always ? ImagePullPolicy.IfNotPresent : spec.ImagePullPolicy;
        return spec;
    }
}
