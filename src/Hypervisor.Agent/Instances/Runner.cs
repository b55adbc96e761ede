using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// One instance on this node, and its only writer: takes in what is wanted, decides by <see cref="RunnerDecision"/>, does it
/// through <see cref="RunnerSteps"/>, and reports. Wakes on a new wish, a hint from the runtime, or its own timer.
/// </summary>
/// <remarks>
/// Stopping the runner stops nothing on the node.
/// </remarks>
internal sealed partial class Runner
{
    private readonly RunnerServices _services;
    private readonly RunnerSteps _steps;
    private readonly RunnerMailbox _mailbox;
    private readonly HealthMonitor _health;
    private readonly ILogger _logger;
    private readonly long _origin;
    private (DateTimeOffset? FinishedAt, TimeSpan At) _restart;
    private bool _endedAsUnhealthy;
    private Failure? _failure;
    private InstanceStatus? _reported;

    /// <param name="observed">What a complete listing said of it; unknown when there was none.</param>
    public Runner(InstanceId id, Observation observed, RunnerServices services)
    {
        Id = id;
        _services = services;
        _logger = services.Logger;
        _mailbox = new RunnerMailbox(observed);
        _steps = new RunnerSteps(id, services);
        _health = new HealthMonitor(services.Health, services.ExecChecks, services.Time, _mailbox.Wake);
        _origin = services.Time.GetTimestamp();
    }

    public InstanceId Id { get; }

    /// <inheritdoc cref="RunnerMailbox.Desired"/>
    public Assignment? Desired => _mailbox.Desired;

    /// <inheritdoc cref="RunnerMailbox.Observed"/>
    public Observation Observed => _mailbox.Observed;

    /// <inheritdoc cref="RunnerMailbox.Type"/>
    public InstanceType Type => _mailbox.Type;

    /// <summary>Takes the assignment, unless its epoch is lower than one known already.</summary>
    public Acceptance Assign(Assignment assignment) => _mailbox.Assign(assignment);

    /// <summary>The control plane names the instance no more: nothing is done to it from now on, and nothing of it is touched.</summary>
    public void Unassign()
    {
        _mailbox.Unassign();
        _services.Reporter.Forget(Id);
    }

    /// <summary>Everything up to this epoch is to go.</summary>
    /// <param name="type">Of the instance, when the tombstone says so.</param>
    public Acceptance Remove(Epoch upTo, InstanceType type) => _mailbox.Remove(upTo, type);

    /// <summary>The runtime may hold something else than what was seen last.</summary>
    public void Hint() => _mailbox.Hint();

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
            static mailbox => ((RunnerMailbox)mailbox!).Wake(), _mailbox, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            WatchHealth();
            var view = Look();
            var decision = RunnerDecision.Decide(view, Now);
            Report(view, decision);
            switch (decision.Action)
            {
                case RunnerAction.Rest when _mailbox.TryRetire():
                    return;
                case RunnerAction.Rest:
                    await _mailbox.WaitAsync(cancellationToken);
                    break;
                case RunnerAction.Wait:
                    timer.Change(UntilDue(decision.Until - Now), Timeout.InfiniteTimeSpan);
                    await _mailbox.WaitAsync(cancellationToken);
                    break;
                case RunnerAction.Acknowledge:
                    _services.Reporter.Removed(Id, decision.Epoch);
                    _mailbox.Removed(decision.Epoch);
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

    private RunnerView Look()
    {
        var (desired, removeUpTo, removedType, observed) = _mailbox.Take();
        return new RunnerView
        {
            Desired = desired,
            RemoveUpTo = removeUpTo,
            RemovedType = removedType,
            Observed = observed,
            HasDriver = desired is null || _services.DriverOf(desired.Spec.Type) is not null,
            KeepsSnapshots = desired is not null && _services.DriverOf(desired.Spec.Type) is { KeepsSnapshots: true },
            NetworkReady = desired is null || _steps.IsNetworkReady(desired),
            NetworkReleased = _steps.NetworkReleased,
            Prepared = desired is not null && _steps.IsPrepared(desired),
            Failure = _failure,
            RestartAt = RestartAt(observed.Instance),
            Health = _health.State,
            EndedAsUnhealthy = _endedAsUnhealthy,
        };
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
        if (_mailbox.Peek() is not { } present)
        {
            // Most likely it runs on; what was found out about it stays until that is known.
            return;
        }

        HealthTarget? target = null;
        if (present.Desired is { Spec.Health: { } check } desired
            && present.Observed.Instance is { State: DriverState.Running } running
            && running.Epoch.Value == desired.Epoch
            && (_steps.Address.Length > 0 || check.CheckCase == HealthCheck.CheckOneofCase.Exec))
        {
            var access = _services.DriverOf(desired.Spec.Type)?.Access;
            target = new HealthTarget(check, Id, running.Epoch, running.StartedAt, _steps.Address, access);
        }

        _health.Watch(target);
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
        if (!_mailbox.TryBegin(decision.Action, view, interrupt))
        {
            return;
        }

        try
        {
            var observed = await _steps.PerformAsync(decision, view, linked.Token);
            _mailbox.Observed = observed;
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
                var started = view with { Observed = observed, Failure = null };
                Report(started, RunnerDecision.Decide(started, Now));
            }
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            _mailbox.Observed = Observation.Unknown;
            if (!interrupt.IsCancellationRequested || exception is DriverException)
            {
                _failure = FailureOf(view, decision, exception, deadline.IsCancellationRequested);
            }
        }
        finally
        {
            _mailbox.End();
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
