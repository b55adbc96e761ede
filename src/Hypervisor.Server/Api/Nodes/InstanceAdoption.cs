using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>
/// AdoptInstance: spec and placement are written from what the node recorded when it made the instance. The spec is kept as
/// it is recorded, to the letter: by that the agent knows that what runs there is what is wanted, and lets it run on.
/// </summary>
/// <remarks>
/// Its image need not be in the catalogue: the copy has its content. Annotations and the time of its creation are nowhere but
/// in the store, so they are lost.
/// </remarks>
internal sealed class InstanceAdoption(
    ViewReads reads, StoreWriter writer, IncarnationKeeper incarnations, CurrentTerm current, Placer placer, TimeProvider time)
{
    /// <exception cref="Grpc.Core.RpcException">
    /// NOT_FOUND; ALREADY_EXISTS when the name is taken; FAILED_PRECONDITION; UNAVAILABLE while this replica does not lead; ABORTED.
    /// </exception>
    public async Task<Instance> AdoptAsync(AdoptInstanceRequest request, CancellationToken cancellationToken)
    {
        UnclaimedReferences.Check(request.RequestId, request.Instance);
        var bare = request.Clone();
        bare.RequestId = "";
        var key = RequestKey.Of(request.RequestId, bare);
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            var node = NodeReferences.Resolve(view, request.Node);
            if (Repeated(view, node, request.Instance, key) is { } adopted)
            {
                return InstanceView.Render(adopted);
            }

            var copy = UnclaimedReferences.Resolve(node, request.Instance);
            RefuseUnadoptable(view, node, copy);

            // Its new epoch goes above the copy's also in the incarnation, so that no later restore is taken for a return to it.
            view = await incarnations.CatchUpAsync(new(copy.Epoch), ResourceVersion.None, cancellationToken);
            if (await WriteAsync(view, node, copy, key, cancellationToken) is { } instance)
            {
                return instance;
            }
        }

        throw ApiErrors.Aborted("INSTANCE_CHANGING", $"Instance '{request.Instance}' or its node kept changing; look again and decide anew.");
    }

    /// <summary>Null when something changed meanwhile.</summary>
    private async Task<Instance?> WriteAsync(
        ClusterView view, NodeEntry node, UnclaimedInstance copy, RequestKey key, CancellationToken cancellationToken)
    {
        var id = new InstanceId(copy.Uid);
        var record = RecordOf(copy, key);
        var specKey = Keys.Spec(copy.Project, copy.Name);
        var plan = current.Value is { } term
            ? placer.PlanStay(term, id, record, new(copy.Epoch), node.Id)
            : throw ApiErrors.Unavailable("This server does not lead the controllers at the moment; try again.", Limits.Control.CampaignRetry);
        if (plan is null)
        {
            // An earlier attempt is under way.
            return null;
        }

        if (plan.Placement.Placement.NodeUid.Length == 0)
        {
            throw ApiErrors.FailedPrecondition(
                "NODE_CANNOT_HOLD_INSTANCE", $"Node '{node.Name}' cannot hold '{copy.Name}' beside what is placed on it: {plan.Placement.Placement.Message}",
                "Node", node.Name);
        }

        var (outcome, revision) = (PlacementOutcome.Unknown, 0L);
        try
        {
            var result = await writer.WriteAsync(
                new(
                    [
                        .. plan.Guards,
                        Compare.Absent(specKey),
                        Compare.Absent(Keys.Placement(id)),
                        Compare.Modified(Keys.Tombstone(id), view.Tombstone(id)?.ModRevision ?? 0),
                        Compare.Modified(Keys.NodeRegistration(node.Id), node.RegistrationRevision),
                    ],
                    [
                        new StoreOperation.Put(specKey, record.ToByteArray()),
                        .. plan.Operations,
                    ]),
                cancellationToken);
            (outcome, revision) = result.Succeeded ? (PlacementOutcome.Committed, result.Revision) : (PlacementOutcome.Refused, 0);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            return result.Succeeded && after.Instance(id) is { } entry ? InstanceView.Render(entry) : null;
        }
        catch (StoreBusyException)
        {
            outcome = PlacementOutcome.Refused;
            throw;
        }
        finally
        {
            plan.Settle(outcome, revision);
        }
    }

    private InstanceSpecRecord RecordOf(UnclaimedInstance copy, RequestKey key)
    {
        var now = time.GetUtcNow();
        var spec = copy.Spec.Clone();

        // What it does now, not what was wanted when it was last made: adopting starts nothing and stops nothing.
        spec.DesiredState = copy.State switch
        {
            InstanceState.Running => DesiredState.Running,
            InstanceState.Paused => DesiredState.Paused,
            InstanceState.Suspended => DesiredState.Suspended,
            _ => DesiredState.Stopped,
        };
        var record = new InstanceSpecRecord
        {
            Metadata = new()
            {
                Name = copy.Name,
                Project = copy.Project,
                Uid = copy.Uid,
                Labels = { copy.Labels },
                Generation = Math.Max(copy.Generation, 1),
                CreatedAt = now.ToTimestamp(),
            },
            Spec = spec,
        };
        key.Remember(record.Requests, now);
        return record;
    }

    private static InstanceEntry? Repeated(ClusterView view, NodeEntry node, string reference, RequestKey key) => key.Id.Length == 0
        ? null
        : view.InstancesOn(node).FirstOrDefault(instance =>
            UnclaimedReferences.Matches(reference, instance.Id.Value, instance.Project, instance.Name) && key.IsRepeated(instance.SpecRecord.Requests));

    private static void RefuseUnadoptable(ClusterView view, NodeEntry node, UnclaimedInstance copy)
    {
        var id = new InstanceId(copy.Uid);
        if (view.Instance(id) is { } known)
        {
            throw UnclaimedReferences.Known(known, "There is nothing to adopt.");
        }

        if (copy.Spec is null || copy.Project.Length == 0)
        {
            throw Refused("NO_RECORD", $"Node '{node.Name}' does not tell what {copy.Uid} was made from: it is half-made, or there are too many unclaimed to tell of all. Purge it, or settle the others first");
        }

        if (view.Tombstone(id) is { } tombstone && (tombstone.Record.Epoch >= copy.Epoch || tombstone.Record.Purges.ContainsKey(node.Id.Value)))
        {
            throw Refused("INSTANCE_DELETED", $"'{copy.Name}' ({copy.Uid}) was deleted or is being purged; the node removes it");
        }

        if (view.Nodes.FirstOrDefault(other => other.Id != node.Id && Lists(other, copy.Uid)) is { } elsewhere)
        {
            throw Refused(
                "UNCLAIMED_ELSEWHERE",
                $"Node '{elsewhere.Name}' holds a copy of {copy.Uid} too, which the adoption would destroy; decide first: hypervisor-ctl node purge {elsewhere.Name} {copy.Uid}");
        }

        if (view.InstanceByName(copy.Project, copy.Name) is not null)
        {
            throw ApiErrors.AlreadyExists(
                "Instance", copy.Name,
                $"Project '{copy.Project}' has another instance '{copy.Name}'; delete that one first, or purge this: hypervisor-ctl node purge {node.Name} {copy.Uid}");
        }

        var violations = new FieldViolations();
        CreateValidation.Check(AsRequest(copy), violations);
        if (violations.Any)
        {
            var first = violations.All[0];
            throw Refused(
                "INVALID_RECORD",
                $"What node '{node.Name}' recorded of {copy.Uid} could not be created like that: {first.Field}: {first.Description} Purge it and create it anew");
        }

        Grpc.Core.RpcException Refused(string reason, string message) => ApiErrors.FailedPrecondition(reason, message + ".", "Instance", copy.Uid);
    }

    private static bool Lists(NodeEntry node, string uid) => node.RegistrationRecord?.Unclaimed.Any(copy => copy.Uid == uid) ?? false;

    /// <summary>As a user would have written it, without what only the control plane writes.</summary>
    private static CreateInstanceRequest AsRequest(UnclaimedInstance copy)
    {
        var spec = copy.Spec.Clone();
        (spec.RestartGeneration, spec.ImageDigest, spec.DesiredState) = (0, "", DesiredState.Running);
        (spec.Restore, spec.Source) = (null, null);
        spec.Snapshots.Clear();
        return new() { Project = copy.Project, Name = copy.Name, Spec = spec, Labels = { copy.Labels } };
    }
}
