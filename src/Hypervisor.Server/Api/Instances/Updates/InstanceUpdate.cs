using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>UpdateInstance: takes over what the mask names, says what needs a restart before it happens, and re-checks the node's room.</summary>
internal sealed class InstanceUpdate(ViewReads reads, StoreWriter writer, TimeProvider time, IResizing? resizing)
{
    public async Task<UpdateInstanceResponse> UpdateAsync(UpdateInstanceRequest request, CancellationToken cancellationToken)
    {
        var target = UpdateValidation.Check(request);
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (InstanceAddress.Find(view, target.Project, target.Instance) is not { } entry)
            {
                throw InstanceAddress.NotFound(target.Project, target.Instance);
            }

            if (target.Key.IsRepeated(entry.SpecRecord.Requests))
            {
                return new() { Instance = InstanceView.Render(entry) };
            }

            target.CheckVersion(entry);
            if (entry.Deleting)
            {
                throw ApiErrors.FailedPrecondition(
                    "BEING_DELETED", $"Instance '{entry.Name}' is being deleted; nothing else can be asked of it.", "Instance", entry.Name);
            }

            if (entry.Metadata.Owner is { } owner)
            {
                throw ApiErrors.FailedPrecondition(
                    "MEMBER_OF_GROUP", $"Instance '{entry.Name}' is what its group '{owner.Name}' says; update the group.", "Instance", entry.Name);
            }

            var record = Applied(request, entry);
            var present = SpecDefaults.Fill(entry.Spec);
            var restart = UpdateRules.RestartRequired(present, record.Spec);
            if (!MayRun(entry))
            {
                restart = [];
            }

            if (restart.Count > 0 && !request.AllowRestart && !request.DryRun)
            {
                throw RestartRequired(entry, restart);
            }

            if (restart.Count > 0)
            {
                record.Spec.RestartGeneration++;
            }

            var specChanged = !record.Spec.Equals(present);
            var changed = specChanged || !record.Metadata.Equals(entry.Metadata);
            record.Metadata.Generation += specChanged ? 1 : 0;
            var proposal = Resize(entry, record.Spec, request.DryRun);
            if (request.DryRun)
            {
                return Answer(InstanceView.Render(Draft(entry, record, view)), restart);
            }

            if (!changed && target.Key.Id.Length == 0)
            {
                return Answer(InstanceView.Render(entry), restart);
            }

            target.Key.Remember(record.Requests, time.GetUtcNow());
            record.TraceParent = TraceContext.Parent;
            var result = await WriteAsync(target, entry, record, proposal, cancellationToken);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return Answer(InstanceView.Render(after.Instance(entry.Id) ?? Draft(entry, record, after)), restart);
            }
        }

        throw target.Conflict();
    }

    private static UpdateInstanceResponse Answer(Instance instance, IReadOnlyList<string> restart) =>
        new() { Instance = instance, RestartRequired = { restart } };

    private static InstanceSpecRecord Applied(UpdateInstanceRequest request, InstanceEntry entry)
    {
        var record = entry.SpecRecord.Clone();
        var wished = request.Instance.Clone();
        var present = new Instance { Metadata = record.Metadata, Spec = record.Spec };
        foreach (var path in request.UpdateMask.Paths)
        {
            FieldMaskCopy.Copy(wished, present, path);
        }

        UpdateValidation.CheckResult(present, entry);
        record.Spec = SpecDefaults.Fill(present.Spec);
        return record;
    }

    // A process that ended by itself stays ended under any update, and one that is to be stopped is made anew when it starts.
    private static bool MayRun(InstanceEntry entry) =>
        entry.Spec.DesiredState != DesiredState.Stopped
        && entry.NodeId is not null
        && entry.ReportedState is not (InstanceState.Stopped or InstanceState.Failed);

    private PlacementProposal? Resize(InstanceEntry entry, InstanceSpec spec, bool dryRun)
    {
        var same = ResourceAmount.Of(spec.Resources) == ResourceAmount.Of(entry.Spec.Resources)
            && DeviceAmounts.Of(spec.Resources) == DeviceAmounts.Of(entry.Spec.Resources)
            && (spec.Network?.Ports ?? []).SequenceEqual(entry.Spec.Network?.Ports ?? []);
        if (same || entry.NodeId is null)
        {
            return null;
        }

        var answer = resizing?.Propose(entry, spec, dryRun) ?? default;
        if (answer.Refusal is { } refusal)
        {
            throw ApiErrors.FailedPrecondition(
                "NO_ROOM",
                $"Node '{entry.Node?.Name}', which instance '{entry.Name}' is on, {refusal}; ask for less, or make room there.",
                "Instance",
                entry.Name);
        }

        return answer.Proposal ?? throw new NotLeadingException();
    }

    private async Task<WriteResult> WriteAsync(
        MutationTarget target, InstanceEntry entry, InstanceSpecRecord record, PlacementProposal? proposal, CancellationToken cancellationToken)
    {
        var compares = target.Compares(entry);
        var operations = new List<StoreOperation> { new StoreOperation.Put(entry.SpecKey, record.ToByteArray()) };
        if (proposal is not null)
        {
            compares.AddRange(proposal.Guards.Where(guard => compares.TrueForAll(compare => compare.Key != guard.Key)));
            operations.Add(new StoreOperation.Put(Keys.Placement(entry.Id), proposal.Placement.ToByteArray()));
        }

        var (outcome, revision) = (PlacementOutcome.Unknown, 0L);
        try
        {
            var result = await writer.WriteAsync(new(compares, operations), cancellationToken);
            (outcome, revision) = result.Succeeded ? (PlacementOutcome.Committed, result.Revision) : (PlacementOutcome.Refused, 0);
            return result;
        }
        catch (StoreBusyException)
        {
            outcome = PlacementOutcome.Refused;
            throw;
        }
        finally
        {
            proposal?.Settle(outcome, revision);
        }
    }

    private static InstanceEntry Draft(InstanceEntry entry, InstanceSpecRecord record, ClusterView view) =>
        DraftEntries.Of(entry.Id, record, entry.PlacementRecord, view, entry.ResourceVersion);

    private static Grpc.Core.RpcException RestartRequired(InstanceEntry entry, IReadOnlyList<string> fields)
    {
        var failure = new Google.Rpc.PreconditionFailure();
        failure.Violations.AddRange(fields.Select(field => new Google.Rpc.PreconditionFailure.Types.Violation
        {
            Type = "RESTART_REQUIRED",
            Subject = field,
            Description = "takes effect only when the process is started anew",
        }));
        return ApiErrors.Error(
            Google.Rpc.Code.FailedPrecondition,
            $"Instance '{entry.Name}' runs, and {string.Join(", ", fields)} {(fields.Count == 1 ? "takes" : "take")} effect only with a restart; "
            + "allow it (allow_restart), or stop the instance first.",
            new Google.Rpc.ErrorInfo { Reason = "RESTART_REQUIRED", Domain = ApiErrors.Domain },
            failure);
    }
}
