using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What became of a wish.</summary>
internal enum Acceptance
{
    Taken,

    /// <summary>Something newer is known; nothing changes.</summary>
    Older,

    /// <summary>This runner has ended.</summary>
    Retired,
}

/// <summary>
/// One instance on this node, and its only writer: takes in what is wanted, decides by <see cref="RunnerDecision"/>, does it
/// through <see cref="RunnerSteps"/>, and reports. Wakes on a new wish, a hint from the runtime, or its own timer.
/// </summary>
/// <remarks>
/// The mailbox holds one of each kind: the latest assignment, the highest tombstone, "something may have changed". Stopping
/// the runner stops nothing on the node.
/// </remarks>
internal sealed partial class Runner
{
    private readonly RunnerServices _services;
    private readonly RunnerSteps _steps;
    private readonly Lock _gate = new();
    private readonly Signal _signal = new();
    private readonly HealthMonitor _health;
    private readonly ILogger _logger;
    private readonly long _origin;

    // The mailbox and what others may ask for, under the gate.
    private Observation _observed;
    private Assignment? _desired;
    private Epoch _removeUpTo;
    private InstanceType _removedType;
    private bool _hinted;
    private bool _retired;
    private RunnerAction _underWay;
    private CancellationTokenSource? _interrupt;

    // The loop's own.
    private (DateTimeOffset? FinishedAt, TimeSpan At) _restart;
    private bool _endedAsUnhealthy;
    private Failure? _failure;
    private InstanceStatus? _reported;

    /// <param name="observed">What a complete listing said of it; unknown when there was none.</param>
    public Runner(InstanceId id, Observation observed, RunnerServices services)
    {
        Id = id;
        _observed = observed;
        _services = services;
        _logger = services.Logger;
        _steps = new RunnerSteps(id, services);
        _health = new HealthMonitor(services.Health, services.ExecChecks, services.Time, _signal.Set);
        _origin = services.Time.GetTimestamp();
    }

    public InstanceId Id { get; }

    /// <summary>What is wanted of this node, or none.</summary>
    public Assignment? Desired
    {
        get
        {
            lock (_gate)
            {
                return _desired;
            }
        }
    }

    /// <summary>What was seen last: may be older than the last hint.</summary>
    public Observation Observed
    {
        get
        {
            lock (_gate)
            {
                return _observed;
            }
        }
    }

    /// <summary>The tombstone being carried out, or none.</summary>
    public Epoch RemoveUpTo
    {
        get
        {
            lock (_gate)
            {
                return _removeUpTo;
            }
        }
    }

    /// <summary>Takes the assignment, unless its epoch is lower than one known already.</summary>
    public Acceptance Assign(Assignment assignment)
    {
        CancellationTokenSource? interrupted = null;
        lock (_gate)
        {
            if (_retired)
            {
                return Acceptance.Retired;
            }

            if (assignment.Epoch <= _removeUpTo.Value || (_desired is { } known && IsOlder(assignment, known)))
            {
                return Acceptance.Older;
            }

            var before = _desired;
            _desired = assignment;
            if (before is not null && Obsoletes(before, assignment))
            {
                interrupted = _interrupt;
            }
        }

        interrupted?.Cancel();
        _signal.Set();
        return Acceptance.Taken;
    }

    /// <summary>The control plane names the instance no more: nothing is done to it from now on, and nothing of it is touched.</summary>
    public void Unassign()
    {
        CancellationTokenSource? interrupted;
        lock (_gate)
        {
            _desired = null;
            interrupted = _interrupt;
        }

        interrupted?.Cancel();
        _services.Reporter.Forget(Id);
        _signal.Set();
    }

    /// <summary>Everything up to this epoch is to go.</summary>
    /// <param name="type">Of the instance, when the tombstone says so.</param>
    public Acceptance Remove(Epoch upTo, InstanceType type)
    {
        CancellationTokenSource? interrupted = null;
        lock (_gate)
        {
            if (_retired)
            {
                return Acceptance.Retired;
            }

            if (upTo <= _removeUpTo)
            {
                return Acceptance.Older;
            }

            _removeUpTo = upTo;
            _removedType = type;
            if (_desired is null || _desired.Epoch <= upTo.Value)
            {
                _desired = null;
                interrupted = _underWay == RunnerAction.Remove ? null : _interrupt;
            }
        }

        interrupted?.Cancel();
        _signal.Set();
        return Acceptance.Taken;
    }

    /// <summary>The runtime may hold something else than what was seen last.</summary>
    public void Hint()
    {
        lock (_gate)
        {
            if (_interrupt is not null && _underWay == RunnerAction.Create)
            {
                // The runtime tells of our own doing; looking would only delay the start that follows.
                return;
            }

            _hinted = true;
        }

        _signal.Set();
    }

    /// <summary>
    /// Ends when nothing is wanted of this runner any more; it has retired then, and a later wish needs a new one. Until then
    /// it ends by cancellation only.
    /// </summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await LoopAsync(cancellationToken);
        }
        finally
        {
            await _health.StopAsync();
        }
    }

    private async Task LoopAsync(CancellationToken cancellationToken)
    {
        using var timer = _services.Time.CreateTimer(
            static signal => ((Signal)signal!).Set(), _signal, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            WatchHealth();
            var view = Look();
            var decision = RunnerDecision.Decide(view, Now);
            Report(view, decision);
            switch (decision.Action)
            {
                case RunnerAction.Rest when TryRetire():
                    return;
                case RunnerAction.Rest:
                    await _signal.WaitAsync(cancellationToken);
                    break;
                case RunnerAction.Wait:
                    timer.Change(UntilDue(decision.Until - Now), Timeout.InfiniteTimeSpan);
                    await _signal.WaitAsync(cancellationToken);
                    break;
                case RunnerAction.Acknowledge:
                    Acknowledge(decision.Epoch);
                    break;
                default:
                    await PerformAsync(view, decision, cancellationToken);
                    break;
            }
        }
    }

    /// <summary>
    /// In the timer's whole milliseconds, rounded up: it would fire too early otherwise, again and again, and a millisecond
    /// in the past means "never" to it.
    /// </summary>
    private static TimeSpan UntilDue(TimeSpan remaining) =>
        TimeSpan.FromMilliseconds(Math.Max(0, Math.Ceiling(remaining.TotalMilliseconds)));

    private TimeSpan Now => _services.Time.GetElapsedTime(_origin);

    /// <summary>
    /// An epoch never goes back, nor a generation within an epoch. The same generation may come again with another content:
    /// labels do not count as desired state.
    /// </summary>
    private static bool IsOlder(Assignment offered, Assignment known) =>
        offered.Epoch < known.Epoch || (offered.Epoch == known.Epoch && offered.Generation < known.Generation);

    /// <summary>What is under way for the one is not worth finishing for the other.</summary>
    private static bool Obsoletes(Assignment before, Assignment after) =>
        before.Epoch != after.Epoch
        || before.Spec.DesiredState != after.Spec.DesiredState
        || before.Spec.RestartGeneration != after.Spec.RestartGeneration;

    private RunnerView Look()
    {
        lock (_gate)
        {
            if (_hinted)
            {
                _hinted = false;
                _observed = Observation.Unknown;
            }

            return new RunnerView
            {
                Desired = _desired,
                RemoveUpTo = _removeUpTo,
                RemovedType = _removedType,
                Observed = _observed,
                HasDriver = _desired is null || _services.DriverOf(_desired.Spec.Type) is not null,
                KeepsSnapshots = _desired is not null && _services.DriverOf(_desired.Spec.Type) is { KeepsSnapshots: true },
                NetworkReady = _desired is null || _steps.IsNetworkReady(_desired),
                NetworkReleased = _steps.NetworkReleased,
                Prepared = _desired is not null && _steps.IsPrepared(_desired),
                Failure = _failure,
                RestartAt = RestartAt(_observed.Instance),
                Health = _health.State,
                EndedAsUnhealthy = _endedAsUnhealthy,
            };
        }
    }

    /// <summary>Counted from the end of the run; a clock that was set meanwhile neither skips nor stretches the wait.</summary>
    private TimeSpan RestartAt(DriverInstance? found)
    {
        if (found is not { State: DriverState.Stopped, Exit: not null })
        {
            return TimeSpan.Zero;
        }

        if (found.FinishedAt is null || _restart.FinishedAt != found.FinishedAt)
        {
            var delay = found.Restarts.DelayAfter(found.Ran);
            var passed = _services.Time.GetUtcNow() - (found.FinishedAt ?? DateTimeOffset.MinValue);
            _restart = (found.FinishedAt, Now + (passed < TimeSpan.Zero ? delay : passed > delay ? TimeSpan.Zero : delay - passed));
        }

        return _restart.At;
    }

    /// <summary>Only a run under the present epoch can be asked anything, and over the network only once it has an address.</summary>
    private void WatchHealth()
    {
        HealthTarget? target = null;
        lock (_gate)
        {
            if (_hinted || _observed.Knowledge == Knowledge.Unknown)
            {
                // Most likely it runs on; what was found out about it stays until that is known.
                return;
            }

            if (_desired is { Spec.Health: { } check } desired
                && _observed.Instance is { State: DriverState.Running } running
                && running.Epoch.Value == desired.Epoch
                && (_steps.Address.Length > 0 || check.CheckCase == HealthCheck.CheckOneofCase.Exec))
            {
                var access = _services.DriverOf(desired.Spec.Type)?.Access;
                target = new HealthTarget(check, Id, running.Epoch, running.StartedAt, _steps.Address, access);
            }
        }

        _health.Watch(target);
    }

    private void See(Observation observed)
    {
        lock (_gate)
        {
            _observed = observed;
        }
    }

    private bool TryRetire()
    {
        lock (_gate)
        {
            _retired = _desired is null && _removeUpTo == Epoch.None;
            return _retired;
        }
    }

    private void Acknowledge(Epoch epoch)
    {
        _services.Reporter.Removed(Id, epoch);
        lock (_gate)
        {
            // A higher tombstone may have arrived since the decision.
            if (_removeUpTo == epoch)
            {
                _removeUpTo = Epoch.None;
            }
        }
    }

    private void Report(RunnerView view, Decision decision)
    {
        if (view.Desired is not { } desired)
        {
            _reported = null;
            return;
        }

        if (StatusRendering.Render(view, decision, _reported, _steps.Address, _services.Time.GetUtcNow()) is { } status)
        {
            _reported = status;
            var delay = StatusRendering.IsTransitional(status) ? Limits.TransitionalReportDelay : TimeSpan.Zero;
            _services.Reporter.Report(Id, new Epoch(desired.Epoch), status, delay);
        }
    }

    private async Task PerformAsync(RunnerView view, Decision decision, CancellationToken cancellationToken)
    {
        using var trace = AgentTraces.Begin($"instance {decision.Action}", view.Desired?.TraceParent, Id.Value);
        var interrupt = new CancellationTokenSource();
        using var deadline = new CancellationTokenSource(RunnerSteps.DeadlineOf(decision.Action, view.Desired), _services.Time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, interrupt.Token, deadline.Token);
        lock (_gate)
        {
            (_underWay, _interrupt) = (decision.Action, interrupt);
            if (!ReferenceEquals(_desired, view.Desired) || _removeUpTo != view.RemoveUpTo)
            {
                // The mailbox changed between the decision and here; decide again.
                _interrupt = null;
                return;
            }
        }

        try
        {
            See(await _steps.PerformAsync(decision, view, linked.Token));
            if (decision.Action is not (RunnerAction.Create or RunnerAction.Observe) || view.Failure?.Action == decision.Action)
            {
                // A start that fails again and again must not count anew each time that its preparation succeeds.
                _failure = null;
            }

            if (decision.Action == RunnerAction.Stop)
            {
                _endedAsUnhealthy = view.Desired!.Spec.DesiredState == DesiredState.Running;
            }

            if (decision.Action == RunnerAction.Start)
            {
                _endedAsUnhealthy = false;

                // Before the mailbox is looked at: somebody waits for it.
                var started = view with { Observed = _observed, Failure = null };
                Report(started, RunnerDecision.Decide(started, Now));
            }
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            See(Observation.Unknown);
            if (!interrupt.IsCancellationRequested || exception is DriverException)
            {
                _failure = FailureOf(view, decision, exception, deadline.IsCancellationRequested);
            }
        }
        finally
        {
            lock (_gate)
            {
                _interrupt = null;
            }
        }
    }

    private Failure FailureOf(RunnerView view, Decision decision, Exception exception, bool expired)
    {
        var (reason, message, permanent) = RunnerSteps.Explain(decision.Action, exception, expired);
        var removal = view.Desired is null;
        var generation = removal ? Failure.OfRemoval : view.Desired!.Generation;
        var epoch = removal ? view.RemoveUpTo : new Epoch(view.Desired!.Epoch);
        var attempts = view.Failure is { } before && before.Generation == generation && before.Epoch == epoch ? before.Attempts + 1 : 1;
        var delay = Backoff.DelayAfter(attempts, Limits.RetryMinimum, Limits.RetryMaximum, _services.Random.NextUnit());
        if (permanent)
        {
            LogRefused(Id.Value, epoch.Value, decision.Action, reason, message);
        }
        else
        {
            LogFailed(exception is DriverException ? null : exception, Id.Value, epoch.Value, decision.Action, attempts, reason, message);
        }

        return new Failure(decision.Action, reason, message, permanent, attempts, generation, epoch, Now + delay);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Instance {Instance} epoch {Epoch}: {Action} cannot be done: {Reason}: {Detail}")]
    private partial void LogRefused(string instance, long epoch, RunnerAction action, string reason, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Instance {Instance} epoch {Epoch}: {Action} failed {Attempts} times in a row: {Reason}: {Detail}")]
    private partial void LogFailed(Exception? exception, string instance, long epoch, RunnerAction action, int attempts, string reason, string detail);
}
