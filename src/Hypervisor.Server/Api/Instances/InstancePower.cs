using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Start, stop, restart, pause, suspend and resume: changes of what an instance should be doing.</summary>
internal sealed class InstancePower(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    private readonly SpecChange _changes = new(reads, writer, time);

    /// <summary>Also starts a process anew that has ended although the instance should be running.</summary>
    public Task<Instance> StartAsync(StartInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return _changes.ApplyAsync(target, static (spec, entry, _) =>
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
        return _changes.ApplyAsync(target, static (spec, _, _) => Set(spec, DesiredState.Stopped), cancellationToken);
    }

    /// <summary>Afterwards the instance should be running, whatever it should have been doing before.</summary>
    public Task<Instance> RestartAsync(RestartInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        return _changes.ApplyAsync(target, static (spec, _, _) =>
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
        return _changes.ApplyAsync(target, static (spec, entry, _) =>
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
        return _changes.ApplyAsync(target, static (spec, entry, _) =>
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
        return _changes.ApplyAsync(target, static (spec, entry, _) =>
        {
            RefuseStopped(spec, entry, "resumed");
            return Set(spec, DesiredState.Running);
        }, cancellationToken);
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
