using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What a runner does next.</summary>
internal enum RunnerAction
{
    /// <summary>Nothing until something changes: what is wanted is reached, or cannot be reached.</summary>
    Rest,

    /// <summary>Nothing until <see cref="Decision.Until"/>.</summary>
    Wait,

    /// <summary>Ask the runtime what there is.</summary>
    Observe,

    /// <summary>Image, network, and everything of the driver's up to the process.</summary>
    Create,
    Start,
    Stop,
    Pause,
    Resume,

    /// <summary>Write its memory to disk and end its process.</summary>
    Suspend,

    /// <summary>Keep what its disks hold now; what runs is suspended for it.</summary>
    Snapshot,
    DeleteSnapshot,

    /// <summary>Kill what runs and put its disks back to a snapshot.</summary>
    Restore,

    /// <summary>Give what runs other limits.</summary>
    Limit,

    /// <summary>Find (or repair) the network of what runs already.</summary>
    Attach,

    /// <summary>Let what is there go on under <see cref="Decision.Epoch"/>.</summary>
    RaiseEpoch,

    /// <summary>Kill and remove every trace up to <see cref="Decision.Epoch"/>.</summary>
    Remove,

    /// <summary>Tell the control plane that nothing is left up to <see cref="Decision.Epoch"/>.</summary>
    Acknowledge,
}

/// <param name="Epoch">Under which the action is taken.</param>
/// <param name="Refusal">Set when the agent will not do what is wanted: the reason and message to show.</param>
/// <param name="Until">On the runner's monotonic clock.</param>
internal readonly record struct Decision(RunnerAction Action, Epoch Epoch = default, Refusal? Refusal = null, TimeSpan Until = default);

/// <summary>Why something wanted is not done, as it is shown in the instance's status.</summary>
internal sealed record Refusal(string Reason, string Message);

/// <summary>What is known of the runtime's side.</summary>
internal enum Knowledge
{
    /// <summary>Nothing: it was not asked yet, or something may have changed since. Never taken for "nothing there".</summary>
    Unknown,

    /// <summary>The runtime said that there is nothing.</summary>
    Absent,
    Present,
}

/// <param name="Instance">With <see cref="Knowledge.Present"/> only.</param>
internal readonly record struct Observation(Knowledge Knowledge, DriverInstance? Instance = null)
{
    public static Observation Unknown => new(Knowledge.Unknown);

    public static Observation Absent => new(Knowledge.Absent);

    public static Observation Of(DriverInstance? instance) => instance is null ? Absent : new(Knowledge.Present, instance);
}

/// <summary>The last failed attempt at something.</summary>
/// <param name="Attempts">In a row, from 1.</param>
/// <param name="Generation">Desired when it failed, or <see cref="OfRemoval"/>; another generation or epoch is worth a new attempt.</param>
/// <param name="RetryAt">On the runner's monotonic clock; for a permanent failure only a removal minds it.</param>
internal sealed record Failure(
    RunnerAction Action, string Reason, string Message, bool Permanent, int Attempts, long Generation, Epoch Epoch, TimeSpan RetryAt)
{
    /// <summary>Generations of assignments count from 1.</summary>
    public const long OfRemoval = 0;
}

/// <summary>Everything that a decision depends on, at one moment.</summary>
internal sealed record RunnerView
{
    /// <summary>Null while the control plane assigns nothing here (any more).</summary>
    public Assignment? Desired { get; init; }

    /// <summary>The tombstone's epoch, or none.</summary>
    public Epoch RemoveUpTo { get; init; }

    /// <summary>With <see cref="RemoveUpTo"/>: whose driver holds it; unspecified when the tombstone does not say.</summary>
    public InstanceType RemovedType { get; init; }

    public Observation Observed { get; init; }

    /// <summary>The node has a driver for the desired type.</summary>
    public bool HasDriver { get; init; } = true;

    /// <summary>Its driver can keep snapshots.</summary>
    public bool KeepsSnapshots { get; init; }

    /// <summary>Network attached as desired, or the node has none.</summary>
    public bool NetworkReady { get; init; }

    /// <summary>Nothing of the network is left.</summary>
    public bool NetworkReleased { get; init; }

    /// <summary>This runner has prepared the desired generation and epoch, and nothing ran or ended since.</summary>
    public bool Prepared { get; init; }

    public Failure? Failure { get; init; }

    public HealthState Health { get; init; }

    /// <summary>The last run was ended by this runner, because it did not work.</summary>
    public bool EndedAsUnhealthy { get; init; }

    /// <summary>When what has ended may be started again, on the runner's monotonic clock.</summary>
    public TimeSpan RestartAt { get; init; }

    /// <summary>The failure, when it is about what is desired now.</summary>
    public Failure? PresentFailure =>
        Failure is { } failure && Desired is { } desired && failure.Generation == desired.Generation && failure.Epoch.Value == desired.Epoch ? failure : null;
}

/// <summary>
/// The rules of one instance on one node, as a pure function. Who carries them out is <see cref="Runner"/>; how they look to
/// users is <see cref="StatusRendering"/>.
/// </summary>
/// <remarks>
/// Runs: a process is started at most once for each restart_generation, but for what the restart policy allows. A process that
/// ended by itself otherwise stays ended under any update of its instance, until StartInstance or RestartInstance raises that
/// number. A process that vanished without an exit (the machine was rebooted) did not end, and is started again.
/// Epochs: what the runtime holds under a higher epoch than the assignment's is never touched. What it holds under a lower
/// one goes on under the newer when it is of the same stay on this node and made from the same (the store was restored, or the
/// instance adopted); otherwise it is removed and made anew, on the strength of the assignment that carries the newer epoch;
/// never when a disk would be lost with it.
/// </remarks>
internal static class RunnerDecision
{
    public static Decision Decide(RunnerView view, TimeSpan now)
    {
        if (view.RemoveUpTo != Epoch.None)
        {
            // A newer assignment replaces what the tombstone names by the same means, so it goes first; the tombstone is
            // acknowledged as soon as nothing it names is left.
            if (view.Desired is not { } newer || newer.Epoch <= view.RemoveUpTo.Value)
            {
                return Removal(view, now);
            }

            if (IsGone(view, view.RemoveUpTo))
            {
                return new Decision(RunnerAction.Acknowledge, view.RemoveUpTo);
            }
        }

        return view.Desired is { } desired ? Towards(desired, view, now) : new Decision(RunnerAction.Rest);
    }

    private static Decision Removal(RunnerView view, TimeSpan now)
    {
        // A removal never gives up: there is nobody else who could do it.
        if (view.Failure is { Generation: Failure.OfRemoval } failure && failure.Epoch == view.RemoveUpTo && now < failure.RetryAt)
        {
            return new Decision(RunnerAction.Wait, view.RemoveUpTo, Until: failure.RetryAt);
        }

        return view.Observed switch
        {
            { Knowledge: Knowledge.Unknown } => new Decision(RunnerAction.Observe, view.RemoveUpTo),
            { Instance: { } found } when found.Epoch > view.RemoveUpTo => new Decision(RunnerAction.Acknowledge, view.RemoveUpTo),
            { Knowledge: Knowledge.Absent } when view.NetworkReleased => new Decision(RunnerAction.Acknowledge, view.RemoveUpTo),
            _ => new Decision(RunnerAction.Remove, view.RemoveUpTo),
        };
    }

    private static bool IsGone(RunnerView view, Epoch upTo) => view.Observed switch
    {
        { Knowledge: Knowledge.Absent } => true,
        { Instance: { } found } => found.Epoch > upTo,
        _ => false,
    };

    private static Decision Towards(Assignment desired, RunnerView view, TimeSpan now)
    {
        var epoch = new Epoch(desired.Epoch);
        if (!view.HasDriver)
        {
            return new Decision(RunnerAction.Rest, epoch, Refusals.NoDriver(desired.Spec.Type));
        }

        var failure = view.PresentFailure;
        if (view.Observed.Knowledge == Knowledge.Unknown)
        {
            return failure is { Action: RunnerAction.Observe } mute && now < mute.RetryAt
                ? new Decision(RunnerAction.Wait, epoch, Until: mute.RetryAt)
                : new Decision(RunnerAction.Observe, epoch);
        }

        var found = view.Observed.Instance;
        if (found is not null && found.Epoch > epoch)
        {
            return new Decision(RunnerAction.Rest, epoch, Refusals.StaleEpoch(epoch, found.Epoch));
        }

        var older = found is not null && found.Epoch < epoch;
        var goesOn = older && GoesOn(desired, found!, view.RemoveUpTo);
        var replaced = older && !goesOn;
        if (replaced && desired.Spec.Disks.FirstOrDefault(disk => disk.Kind is not (DiskKind.Unspecified or DiskKind.Ephemeral)) is { } precious)
        {
            return new Decision(RunnerAction.Rest, epoch, Refusals.DiskOfAnotherEpoch(precious, found!.Epoch));
        }

        var action = goesOn ? RunnerAction.RaiseEpoch : replaced ? RunnerAction.Remove : Next(desired, found, view);
        return (action, failure) switch
        {
            (RunnerAction.Rest, _) => new Decision(RunnerAction.Rest, epoch),
            (_, { Permanent: true }) => new Decision(RunnerAction.Rest, epoch, new Refusal(failure.Reason, failure.Message)),
            (_, not null) when now < failure.RetryAt => new Decision(RunnerAction.Wait, epoch, Until: failure.RetryAt),
            (RunnerAction.Create or RunnerAction.Start, _) when IsRestart(desired, found) && now < view.RestartAt =>
                new Decision(RunnerAction.Wait, epoch, Until: view.RestartAt),
            _ => new Decision(action, epoch),
        };
    }

    /// <summary>
    /// Of the same stay: the instance was on no other node since, so no newer copy of it ever ran. Before that point the same
    /// content proves nothing, for a copy that was left behind by a move looks just like this.
    /// </summary>
    private static bool GoesOn(Assignment desired, DriverInstance found, Epoch removeUpTo) =>
        desired.FirstEpoch > 0
        && found.Epoch.Value >= desired.FirstEpoch
        && found.Epoch > removeUpTo
        && found is { State: not DriverState.Partial, MadeFrom: { } made }
        && made.Name == desired.Name
        && made.Project == desired.Project
        && Content(made.Spec, found).Equals(Content(desired.Spec, found));

    /// <summary>What a runtime makes an instance from: everything but what is done with it, or changed of it, afterwards.</summary>
    private static InstanceSpec Content(InstanceSpec? spec, DriverInstance found)
    {
        var content = spec?.Clone() ?? new();
        (content.DesiredState, content.RestartGeneration, content.OnDisconnect, content.Stop, content.Constraints) =
            (DesiredState.Unspecified, 0, DisconnectPolicy.Unspecified, null, null);
        (content.Restart, content.Health, content.Restore) = (null, null, null);
        content.Snapshots.Clear();
        content.Network ??= new();
        content.Network.Ports.Clear();
        content.Network.Rates = null;

        // Counted when it was placed, and no part of what is made.
        content.Resources?.Devices.Clear();
        if (found.Limits is not null)
        {
            content.Resources = null;
            content.Security ??= new();
            content.Security.PidsLimit = 0;
        }

        return content;
    }

    /// <summary>Of the run that is wanted, which has ended by itself.</summary>
    private static bool IsRestart(Assignment desired, DriverInstance? found) =>
        found is { State: DriverState.Stopped, Exit: not null } && found.RestartGeneration >= desired.Spec.RestartGeneration;

    /// <summary>It runs, and is to be asked to end: suspended for a snapshot it would only be cut off.</summary>
    private static bool IsToEnd(Assignment desired, DriverInstance? found, bool again) =>
        found is { State: DriverState.Running or DriverState.Paused } && (again || desired.Spec.DesiredState == DesiredState.Stopped);

    private static RunnerAction Next(Assignment desired, DriverInstance? found, RunnerView view)
    {
        var begin = view.Prepared ? RunnerAction.Start : RunnerAction.Create;
        var limited = found?.Limits is not { } limits || limits == InstanceLimits.Of(desired.Spec);
        var settled = !limited ? RunnerAction.Limit : view.NetworkReady ? RunnerAction.Rest : RunnerAction.Attach;
        var again = found is not null && found.RestartGeneration < desired.Spec.RestartGeneration;
        if (view.KeepsSnapshots && SnapshotPlan.Next(desired, found) is { } due && !(IsToEnd(desired, found, again) && !SnapshotPlan.NeedsRun(due, desired, found)))
        {
            // There have to be disks first, also of what is to be stopped.
            return found is null or { State: DriverState.Partial } ? RunnerAction.Create : due;
        }

        return (desired.Spec.DesiredState, found?.State) switch
        {
            // What lies suspended is given up by a stop.
            (DesiredState.Stopped, DriverState.Running or DriverState.Paused or DriverState.Suspended) => RunnerAction.Stop,
            (DesiredState.Stopped, _) => RunnerAction.Rest,

            (_, null or DriverState.Partial) => RunnerAction.Create,
            (_, DriverState.Created) => begin,
            (DesiredState.Suspended, DriverState.Suspended) when !again => RunnerAction.Rest,
            (_, DriverState.Suspended) => begin,
            (_, DriverState.Stopped) =>
                again || found.Exit is null || view.EndedAsUnhealthy || RestartRules.Wants(desired.Spec.Restart, found) ? begin : RunnerAction.Rest,
            (_, DriverState.Running or DriverState.Paused) when again => RunnerAction.Stop,
            (DesiredState.Running, DriverState.Running) when RestartRules.WantsEnd(desired.Spec, found, view.Health) => RunnerAction.Stop,
            (DesiredState.Suspended, DriverState.Running or DriverState.Paused) => RunnerAction.Suspend,
            (DesiredState.Paused, DriverState.Running) => RunnerAction.Pause,
            (DesiredState.Paused, DriverState.Paused) => settled,
            (_, DriverState.Paused) => RunnerAction.Resume,
            _ => settled,
        };
    }
}
