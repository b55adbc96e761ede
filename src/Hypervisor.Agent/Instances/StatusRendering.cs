using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What users see of an instance, as a pure function of what its runner knows and is about to do.</summary>
internal static class StatusRendering
{
    private const string Ready = "Ready";
    private const string Healthy = "Healthy";

    /// <summary>The status to report, or null when nothing new can be said.</summary>
    /// <param name="previous">What was reported last.</param>
    /// <param name="address">Of the instance on the node's network; empty while it has none.</param>
    /// <param name="at">Wall clock, for the transition of conditions.</param>
    public static InstanceStatus? Render(RunnerView view, Decision decision, InstanceStatus? previous, string address, DateTimeOffset at)
    {
        if (view.Desired is not { } desired || decision.Action is RunnerAction.Acknowledge)
        {
            return null;
        }

        if (view.Observed.Knowledge == Knowledge.Unknown && decision.Refusal is null)
        {
            // Looking again is no news. When looking fails, what is known stays and is marked as old.
            return view.PresentFailure is { } mute ? Unobserved(desired, mute, previous, at) : null;
        }

        var status = new InstanceStatus { ObservedEpoch = desired.Epoch };
        (status.State, status.Reason, status.Message) = Describe(desired, view, decision);
        status.Message = Bounded(status.Message);

        // "Done" is derived from it: only a runner at rest has reached a generation.
        status.ObservedGeneration = decision.Action == RunnerAction.Rest ? desired.Generation : previous?.ObservedGeneration ?? 0;
        status.ObservedParking = decision.Action == RunnerAction.Rest ? desired.Parking : previous?.ObservedParking ?? 0;
        status.ObservedRestartGeneration = view.Observed.Instance?.RestartGeneration ?? previous?.ObservedRestartGeneration ?? 0;
        if (view.Observed.Instance is { } found && found.Epoch.Value == desired.Epoch)
        {
            status.StartedAt = found.StartedAt?.ToTimestamp();
            status.FinishedAt = found.FinishedAt?.ToTimestamp();
            status.Exit = found.State == DriverState.Stopped ? found.Exit?.Clone() : null;
            status.Restarts = found.Restarts.Total;
            (status.Driver, status.Accelerator) = (found.Runtime, NameOf(found.Accelerator));
            status.ObservedRestoreGeneration = found.Restored?.Generation ?? 0;
            if (found.Restored is { } restored)
            {
                var (done, why) = restored.Reason.Length > 0 ? (ConditionStatus.False, restored.Reason) : (ConditionStatus.True, "");
                Set(status, SnapshotPlan.Restored, done, why, Bounded(restored.Message), previous, at);
            }
        }

        status.Snapshots.AddRange(SnapshotPlan.Statuses(desired, view.Observed.Instance, view.KeepsSnapshots));

        if (address.Length > 0 && status.State is not (InstanceState.Failed or InstanceState.Stopped or InstanceState.Suspended))
        {
            status.IpAddresses.Add(address);
        }

        var ready = status.State == InstanceState.Running ? ConditionStatus.True : ConditionStatus.False;
        if (status.State is InstanceState.Running or InstanceState.Stopping && desired.Spec.Health is not null)
        {
            var (healthy, reason, message) = Describe(view.Health);
            if (healthy == ConditionStatus.False && status.Reason.Length == 0)
            {
                (status.Reason, status.Message) = (reason, message);
            }

            ready = healthy == ConditionStatus.True ? ready : ConditionStatus.False;
            Set(status, Healthy, healthy, reason, message, previous, at);
        }

        Set(status, Ready, ready, status.Reason, status.Message, previous, at);
        return status;
    }

    private static string NameOf(Accelerator accelerator) => accelerator switch
    {
        Accelerator.Kvm => "kvm",
        Accelerator.Tcg => "tcg",
        _ => "",
    };

    /// <summary>The next step will probably replace it within <see cref="Limits.TransitionalReportDelay"/>.</summary>
    public static bool IsTransitional(InstanceStatus status) => status.State == InstanceState.Starting && status.Reason.Length == 0;

    private static (InstanceState State, string Reason, string Message) Describe(Assignment desired, RunnerView view, Decision decision)
    {
        var (reason, message) = decision.Refusal is { } refusal
            ? (refusal.Reason, refusal.Message)
            : view.PresentFailure is { } failure && decision.Action != RunnerAction.Rest ? (failure.Reason, failure.Message) : ("", "");

        // A copy of another epoch is not this one: it is in the way, or being replaced.
        var found = view.Observed.Instance is { } present && present.Epoch.Value == desired.Epoch ? present : null;
        var stopping = decision.Action == RunnerAction.Stop || (decision.Action == RunnerAction.Wait && view.PresentFailure?.Action == RunnerAction.Stop);
        switch (found?.State)
        {
            case DriverState.Running:
                return (stopping ? InstanceState.Stopping : InstanceState.Running, reason, message);
            case DriverState.Paused:
                return (stopping ? InstanceState.Stopping : InstanceState.Paused, reason, message);
        }

        if (decision.Refusal is not null || reason == DriverException.DiskFull)
        {
            return (InstanceState.Failed, reason, message);
        }

        if (decision.Action == RunnerAction.Wait && view.PresentFailure is null && found is { State: DriverState.Stopped, Exit: { } last })
        {
            var again = string.Create(
                CultureInfo.InvariantCulture,
                $"{Ended(last, desired.Spec).Message} It is started again after {found.Restarts.DelayAfter(found.Ran).TotalSeconds:0} s (restart {found.Restarts.Total + 1}).");
            return (InstanceState.Starting, "RestartBackoff", again);
        }

        if (decision.Action != RunnerAction.Rest)
        {
            return (InstanceState.Starting, reason, message);
        }

        if (found?.State == DriverState.Suspended)
        {
            return (InstanceState.Suspended, "", "");
        }

        return desired.Spec.DesiredState == DesiredState.Stopped || found?.Exit is not { } exit
            ? (InstanceState.Stopped, "", "")
            : Ended(exit, desired.Spec);
    }

    private static (ConditionStatus Healthy, string Reason, string Message) Describe(HealthState health) => health.Verdict switch
    {
        HealthVerdict.Healthy => (ConditionStatus.True, "", ""),
        HealthVerdict.Unhealthy => (
            ConditionStatus.False, "Unhealthy", Bounded(string.Create(CultureInfo.InvariantCulture, $"Its health check fails: {health.Message}."))),
        _ => (ConditionStatus.Unknown, "NotChecked", "Its health check has not been answered often enough yet."),
    };

    private static (InstanceState State, string Reason, string Message) Ended(ExitStatus exit, InstanceSpec spec)
    {
        if (exit.OutOfMemory)
        {
            var limit = (spec.Resources?.MemoryBytes ?? 0) / (1024 * 1024);
            return (InstanceState.Failed, "OutOfMemory", string.Create(
                CultureInfo.InvariantCulture,
                $"The process was killed at the instance's memory limit of {limit} MiB; raise spec.resources.memory_bytes."));
        }

        if (exit.Signal != 0)
        {
            return (InstanceState.Failed, "Signal", string.Create(
                CultureInfo.InvariantCulture, $"The process was ended by signal {exit.Signal}{SignalNames.Suffix(exit.Signal)}."));
        }

        return exit.Code == 0
            ? (InstanceState.Stopped, "Completed", "The process ended by itself with exit code 0.")
            : (InstanceState.Failed, "ExitCode", string.Create(CultureInfo.InvariantCulture, $"The process ended by itself with exit code {exit.Code}."));
    }

    private static InstanceStatus Unobserved(Assignment desired, Failure mute, InstanceStatus? previous, DateTimeOffset at)
    {
        var status = previous?.Clone() ?? new InstanceStatus { State = InstanceState.Starting, Reason = mute.Reason, Message = Bounded(mute.Message) };
        status.ObservedEpoch = desired.Epoch;
        status.Conditions.Clear();
        Set(status, Ready, ConditionStatus.Unknown, mute.Reason, Bounded(mute.Message), previous, at);
        return status;
    }

    private static void Set(
        InstanceStatus status, string type, ConditionStatus value, string reason, string message, InstanceStatus? previous, DateTimeOffset at)
    {
        var before = previous?.Conditions.FirstOrDefault(condition => condition.Type == type);
        status.Conditions.Add(new Condition
        {
            Type = type,
            Status = value,
            Reason = reason,
            Message = message,
            LastTransitionAt = before?.Status == value ? before.LastTransitionAt : at.ToTimestamp(),
        });
    }

    private static string Bounded(string message) =>
        message.Length <= Limits.StatusMessageLength ? message : string.Concat(message.AsSpan(0, Limits.StatusMessageLength - 1), "…");
}
