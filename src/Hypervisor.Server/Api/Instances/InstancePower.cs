using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Start, stop, restart, pause, suspend and resume: changes of what an instance should be doing.</summary>
internal sealed class InstancePower(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    /// <summary>Also starts a process anew that has ended although the instance should be running.</summary>
    public Task<Instance> StartAsync(StartInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, entry) =>
        {
            var ended = spec.DesiredState == DesiredState.Running && HasEnded(entry);
            var changed = spec.DesiredState != DesiredState.Running || ended;
            spec.RestartGeneration += spec.DesiredState == DesiredState.Stopped || ended ? 1 : 0;
            spec.DesiredState = DesiredState.Running;
            return changed;
        }, cancellationToken);
    }

    public Task<Instance> StopAsync(StopInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, _) => Set(spec, DesiredState.Stopped), cancellationToken);
    }

    /// <summary>Afterwards the instance should be running, whatever it should have been doing before.</summary>
    public Task<Instance> RestartAsync(RestartInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, _) =>
        {
            spec.RestartGeneration++;
            spec.DesiredState = DesiredState.Running;
            return true;
        }, cancellationToken);
    }

    public Task<Instance> PauseAsync(PauseInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, entry) =>
        {
            RefuseStopped(spec, entry, "paused");
            return Set(spec, DesiredState.Paused);
        }, cancellationToken);
    }

    /// <summary>Its memory goes to its node's disk; containers have nobody who could write it there.</summary>
    public Task<Instance> SuspendAsync(SuspendInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, entry) =>
        {
            if (spec.Type == InstanceType.Container)
            {
                throw ApiErrors.FailedPrecondition(
                    "NOT_SUPPORTED",
                    $"Instance '{entry.Name}' is a container, whose memory cannot be written to disk; pause or stop it, or run its image as a microVM.",
                    "Instance",
                    entry.Name);
            }

            RefuseStopped(spec, entry, "suspended");
            return Set(spec, DesiredState.Suspended);
        }, cancellationToken);
    }

    public Task<Instance> ResumeAsync(ResumeInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return ApplyAsync(target, static (spec, entry) =>
        {
            RefuseStopped(spec, entry, "resumed");
            return Set(spec, DesiredState.Running);
        }, cancellationToken);
    }

    private async Task<Instance> ApplyAsync(
        MutationTarget target, Func<InstanceSpec, InstanceEntry, bool> change, CancellationToken cancellationToken)
    {
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (InstanceAddress.Find(view, target.Project, target.Instance) is not { } entry)
            {
                return Gone(view, target);
            }

            if (target.Key.IsRepeated(entry.SpecRecord.Requests))
            {
                return InstanceView.Render(entry);
            }

            target.CheckVersion(entry);
            if (entry.Deleting)
            {
                throw ApiErrors.FailedPrecondition(
                    "BEING_DELETED", $"Instance '{entry.Name}' is being deleted; nothing else can be asked of it.", "Instance", entry.Name);
            }

            var record = entry.SpecRecord.Clone();
            var changed = change(record.Spec, entry);
            if (!changed && target.Key.Id.Length == 0)
            {
                return InstanceView.Render(entry);
            }

            // A request that finds its wish fulfilled is remembered too: repeated later, it must not undo what came between.
            record.Metadata.Generation += changed ? 1 : 0;
            target.Key.Remember(record.Requests, time.GetUtcNow());
            record.TraceParent = TraceContext.Parent;
            var result = await writer.WriteAsync(
                new(target.Compares(entry), [new StoreOperation.Put(Keys.Spec(entry.Id), record.ToByteArray())]), cancellationToken);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return after.Instance(entry.Id) is { } current
                    ? InstanceView.Render(current)
                    : Rendered(entry, record, after, result.Revision);
            }
        }

        throw target.Conflict();
    }

    private static Instance Rendered(InstanceEntry entry, InstanceSpecRecord record, ClusterView after, long revision) => InstanceView.Render(
        DraftEntries.Of(entry.Id, record, entry.PlacementRecord, after, Protocol.ResourceVersion.Of(after.Incarnation, revision)));

    private static Instance Gone(ClusterView view, MutationTarget target)
    {
        if (InstanceAddress.FindTombstone(view, target.Project, target.Instance) is { } tombstone
            && target.Key.IsRepeated(tombstone.Record.Requests))
        {
            return DraftEntries.Deleted(tombstone, view.Incarnation);
        }

        throw InstanceAddress.NotFound(target.Project, target.Instance);
    }

    private static bool Set(InstanceSpec spec, DesiredState wanted)
    {
        var changed = spec.DesiredState != wanted;
        spec.DesiredState = wanted;
        return changed;
    }

    // Only a report about the present generation: an older one may be about the run before the last start.
    private static bool HasEnded(InstanceEntry entry) =>
        entry.CurrentStatus is { State: InstanceState.Stopped or InstanceState.Failed } status
        && status.ObservedGeneration == entry.Metadata.Generation;

    private static void RefuseStopped(InstanceSpec spec, InstanceEntry entry, string participle)
    {
        if (spec.DesiredState == DesiredState.Stopped)
        {
            throw ApiErrors.FailedPrecondition(
                "NOT_RUNNING", $"Instance '{entry.Name}' is stopped and cannot be {participle}; start it.", "Instance", entry.Name);
        }
    }
}
