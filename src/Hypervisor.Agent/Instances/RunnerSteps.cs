using System.Globalization;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// Carries out one decided action and answers what the runtime holds afterwards. Remembers what it prepared itself, so that
/// nothing is asked of the runtime on the way from an assignment to a running process.
/// </summary>
internal sealed class RunnerSteps(InstanceId id, RunnerServices services)
{
    /// <summary>A runtime and this agent read the clock at two moments of one start; further apart it was another start.</summary>
    private static readonly TimeSpan SameStart = TimeSpan.FromSeconds(5);

    private static readonly NetworkSpec NoPorts = new();

    private NetworkAttachment? _attachment;
    private NetworkSpec? _attachedFor;
    private (long Epoch, long Generation)? _prepared;
    private DateTimeOffset? _startedAt;

    /// <summary>Nothing of the node's network is left for this instance.</summary>
    public bool NetworkReleased { get; private set; } = services.Network is null;

    /// <summary>On the node's network; empty while it has none.</summary>
    public string Address => _attachment?.Address.ToString() ?? "";

    public bool IsNetworkReady(Assignment desired) =>
        services.Network is null || (_attachment is not null && (desired.Spec.Network ?? NoPorts).Equals(_attachedFor));

    public bool IsPrepared(Assignment desired) => _prepared == (desired.Epoch, desired.Generation);

    public static TimeSpan DeadlineOf(RunnerAction action, Assignment? desired) => action switch
    {
        RunnerAction.Observe => Limits.ObserveDeadline,
        RunnerAction.Create => Limits.CreateDeadline,
        RunnerAction.Suspend => Limits.SuspendDeadline,
        RunnerAction.Snapshot or RunnerAction.Restore => Limits.SnapshotDeadline,
        RunnerAction.Stop when desired is not null => Limits.ActionDeadline + StopPolicyOf(desired.Spec).GracePeriod,
        _ => Limits.ActionDeadline,
    };

    /// <exception cref="DriverException">As the driver, the network or the image provider puts it.</exception>
    public async Task<Observation> PerformAsync(Decision decision, RunnerView view, CancellationToken cancellationToken)
    {
        if (decision.Action == RunnerAction.Observe)
        {
            return await ObserveAsync(view, cancellationToken);
        }

        if (decision.Action == RunnerAction.Remove)
        {
            return await RemoveAsync(view, decision.Epoch, cancellationToken);
        }

        var desired = view.Desired!;
        var driver = services.DriverOf(desired.Spec.Type)!;
        switch (decision.Action)
        {
            case RunnerAction.Create:
                var made = await CreateAsync(driver, desired, view.Observed.Instance, cancellationToken);

                // What a restore means to what was only just made is for the driver to say.
                return view.Observed.Instance is null && driver.KeepsSnapshots && desired.Spec.Restore is not null ? await ObserveAsync(view, cancellationToken) : made;
            case RunnerAction.Start:
                return await StartAsync(driver, view, decision.Epoch, view.Observed.Instance!, cancellationToken);
            case RunnerAction.Attach:
                await AttachAsync(desired, cancellationToken);
                return view.Observed;
            case RunnerAction.RaiseEpoch:
                _prepared = null;
                await driver.RaiseEpochAsync(id, decision.Epoch, cancellationToken);

                // Its network is to be asked for under the new epoch as well.
                _attachedFor = null;
                break;
            case RunnerAction.Stop:
                _prepared = null;
                await driver.StopAsync(id, decision.Epoch, StopPolicyOf(desired.Spec), cancellationToken);
                break;
            case RunnerAction.Limit:
                await driver.LimitAsync(id, decision.Epoch, InstanceLimits.Of(desired.Spec), cancellationToken);
                break;
            case RunnerAction.Pause:
                await driver.PauseAsync(id, decision.Epoch, cancellationToken);
                break;
            case RunnerAction.Suspend:
                await driver.SuspendAsync(id, decision.Epoch, cancellationToken);
                break;
            case RunnerAction.Snapshot:
                _prepared = null;
                await driver.SnapshotAsync(id, decision.Epoch, SnapshotPlan.DueSnapshot(desired, view.Observed.Instance)!, cancellationToken);
                break;
            case RunnerAction.DeleteSnapshot:
                await driver.DeleteSnapshotAsync(
                    id, decision.Epoch, SnapshotPlan.Unwanted(desired, view.Observed.Instance)!.Wanted.Uid, cancellationToken);
                break;
            case RunnerAction.Restore:
                _prepared = null;
                await driver.RestoreAsync(id, decision.Epoch, SnapshotPlan.DueRestore(desired, view.Observed.Instance)!, cancellationToken);
                break;
            case RunnerAction.Resume:
                await driver.ResumeAsync(id, decision.Epoch, cancellationToken);
                break;
            default:
                throw new InvalidOperationException($"{decision.Action} is not an action on a runtime.");
        }

        return await ObserveAsync(view, cancellationToken);
    }

    /// <summary>Why it failed, for the status: reason, message, and whether it is worth no other attempt.</summary>
    /// <param name="expired">The action's deadline had passed.</param>
    public static (string Reason, string Message, bool Permanent) Explain(RunnerAction action, Exception exception, bool expired) => exception switch
    {
        DriverException driver => (driver.Reason, driver.Message, driver.Permanent),
        OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled } when expired =>
            ("Timeout", $"{action} did not end within its time; the node tries again.", false),
        RpcException rpc => ("Unavailable", $"{action} got no answer: {rpc.StatusCode}: {rpc.Status.Detail}", false),
        _ => ("InternalError", $"{action} failed on the node: {exception.Message}", false),
    };

    private static StopPolicy StopPolicyOf(InstanceSpec spec) => new(
        spec.Stop is { Signal.Length: > 0 } stop ? SignalNames.Parse(stop.Signal) ?? 0 : 0,
        spec.Stop?.GracePeriod?.ToTimeSpan() ?? TimeSpan.FromSeconds(10));

    private IEnumerable<IInstanceDriver> DriversOf(RunnerView view)
    {
        var type = view.Desired?.Spec.Type ?? view.RemovedType;
        return type == InstanceType.Unspecified || services.DriverOf(type) is not { } driver ? services.Drivers : [driver];
    }

    private async Task<Observation> ObserveAsync(RunnerView view, CancellationToken cancellationToken)
    {
        // All of them have to answer: "nothing there" is said by every runtime or by none.
        var found = Observation.Absent;
        foreach (var driver in DriversOf(view))
        {
            if (await driver.GetAsync(id, cancellationToken) is { } instance)
            {
                found = Observation.Of(Steadied(instance) with { Runtime = driver.Name });
            }
        }

        return found;
    }

    /// <summary>The start time that was reported stays, although the runtime noted it a moment earlier.</summary>
    private DriverInstance Steadied(DriverInstance instance) =>
        _startedAt is { } own && instance.StartedAt is { } noted && (own - noted).Duration() < SameStart ? instance with { StartedAt = own } : instance;

    private async Task<Observation> CreateAsync(
        IInstanceDriver driver, Assignment desired, DriverInstance? present, CancellationToken cancellationToken)
    {
        var digest = await PrepareAsync(desired, cancellationToken);
        await services.StartsOf(driver.Type).EnterAsync(cancellationToken);
        try
        {
            await driver.CreateAsync(new InstanceDefinition(desired, digest, _attachment), cancellationToken);
        }
        finally
        {
            services.StartsOf(driver.Type).Leave();
        }

        _prepared = (desired.Epoch, desired.Generation);
        // As the driver counts it when the start comes.
        var restarts = present is { Exit: not null } && present.RestartGeneration >= desired.Spec.RestartGeneration
            ? present.Restarts.After(present.Ran)
            : default;
        return Observation.Of(new DriverInstance(
            id, new Epoch(desired.Epoch), desired.Name, desired.Project, desired.Generation, desired.Spec.RestartGeneration, DriverState.Created,
            Limits: driver.LimitsWhileRunning ? InstanceLimits.Of(desired.Spec) : null,
            Restarts: restarts)
        {
            Runtime = driver.Name,
            Snapshots = present?.Snapshots ?? [],
            Restored = present?.Restored,
        });
    }

    /// <summary>Image and network do not need each other: both at once. The first that fails ends the other.</summary>
    private async Task<string> PrepareAsync(Assignment desired, CancellationToken cancellationToken)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var image = services.Images.EnsureAsync(
            desired.Project, desired.Spec.Image, desired.Spec.ImageDigest, desired.Spec.ImagePullPolicy, both.Token);
        var network = AttachAsync(desired, both.Token);
        var first = await Task.WhenAny(image, network);
        if (!first.IsCompletedSuccessfully)
        {
            both.Cancel();
        }

        await Task.WhenAll(image, network).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        await first;
        await network;
        return await image;
    }

    private async Task AttachAsync(Assignment desired, CancellationToken cancellationToken)
    {
        if (services.Network is not { } network)
        {
            return;
        }

        NetworkReleased = false;
        var spec = desired.Spec.Network ?? NoPorts;
        var connection = services.DriverOf(desired.Spec.Type)?.Connection ?? ConnectionKind.Namespace;
        _attachment = await network.AttachAsync(id, new Epoch(desired.Epoch), spec, connection, AssignedHostname.Of(desired), cancellationToken);
        _attachedFor = spec;
    }

    private async Task<Observation> StartAsync(
        IInstanceDriver driver, RunnerView view, Epoch epoch, DriverInstance created, CancellationToken cancellationToken)
    {
        _prepared = null;
        await services.StartsOf(driver.Type).EnterAsync(cancellationToken);
        try
        {
            await driver.StartAsync(id, epoch, cancellationToken);
        }
        finally
        {
            services.StartsOf(driver.Type).Leave();
        }

        if (driver.Connection == ConnectionKind.Tap)
        {
            // A machine's start takes so long that it may have ended meanwhile, and asking costs nothing beside it.
            return await ObserveAsync(view, cancellationToken);
        }

        _startedAt = services.Time.GetUtcNow();
        return Observation.Of(created with { State = DriverState.Running, StartedAt = _startedAt, FinishedAt = null, Exit = null });
    }

    private async Task<Observation> RemoveAsync(RunnerView view, Epoch epoch, CancellationToken cancellationToken)
    {
        _prepared = null;
        foreach (var driver in DriversOf(view))
        {
            await driver.RemoveAsync(id, epoch, cancellationToken);
        }

        if (services.Network is { } network)
        {
            (_attachment, _attachedFor) = (null, null);
            try
            {
                await network.DetachAsync(id, epoch, cancellationToken);
            }
            catch (DriverException refused) when (refused.Reason == "StaleEpoch")
            {
                // What is attached belongs to a later placement, whose instance was not made yet: of this epoch nothing is left.
            }

            NetworkReleased = true;
        }

        var left = await ObserveAsync(view, cancellationToken);
        return left.Instance is { } found && found.Epoch <= epoch
            ? throw new DriverException(
                "RemovalIncomplete",
                string.Create(CultureInfo.InvariantCulture, $"The runtime still holds the instance as {found.State} under epoch {found.Epoch.Value}."),
                permanent: false)
            : left;
    }
}
