using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>What is to be checked: this check, of this run.</summary>
/// <param name="Address">On the node's network; empty without one.</param>
/// <param name="Access">The way into it; null where its driver has none.</param>
internal sealed record HealthTarget(
    HealthCheck Check, InstanceId Id, Epoch Epoch, DateTimeOffset? StartedAt, string Address, IInstanceAccess? Access);

/// <summary>Checks one instance while it runs. Its owner says what to check; it says when the verdict changes.</summary>
/// <param name="commands">Holds the checks of all instances that start processes to a few at once.</param>
/// <param name="changed">Called after <see cref="State"/> has changed its verdict or its reason.</param>
internal sealed class HealthMonitor(IHealthProbe probe, AdmissionGate commands, TimeProvider time, Action changed)
{
    private readonly Lock _gate = new();
    private HealthTarget? _target;
    private HealthState _state = HealthState.None;
    private long _saidAt;
    private Action _end = static () => { };
    private Task _loop = Task.CompletedTask;

    public HealthState State
    {
        get
        {
            lock (_gate)
            {
                return _state;
            }
        }
    }

    /// <summary>Begins anew when the target is another one; null ends the checks.</summary>
    public void Watch(HealthTarget? target)
    {
        if (Equals(target, _target))
        {
            return;
        }

        _end();
        lock (_gate)
        {
            _target = target;
            _state = HealthState.None;
        }

        if (target is not null)
        {
            // Without a timer there is nothing in it to dispose of.
            var checking = new CancellationTokenSource();
            _end = checking.Cancel;
            _loop = CheckAsync(_loop, target, checking.Token);
        }
    }

    /// <summary>Returns once no check is under way.</summary>
    public Task StopAsync()
    {
        Watch(null);
        return _loop;
    }

    private async Task CheckAsync(Task before, HealthTarget target, CancellationToken cancellationToken)
    {
        await before;
        var interval = target.Check.Interval.ToTimeSpan();
        var begun = time.GetTimestamp();
        var ran = target.StartedAt is { } at && time.GetUtcNow() > at ? time.GetUtcNow() - at : TimeSpan.Zero;
        try
        {
            while (true)
            {
                if (await CheckOnceAsync(target, cancellationToken) is { } result)
                {
                    Take(target, result, ran + time.GetElapsedTime(begun));
                }

                await Task.Delay(interval, time, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Another target, or none.
        }
    }

    private async Task<HealthResult?> CheckOnceAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        if (target.Check.CheckCase != HealthCheck.CheckOneofCase.Exec)
        {
            return await AskAsync(target, cancellationToken);
        }

        await commands.EnterAsync(cancellationToken);
        try
        {
            return await AskAsync(target, cancellationToken);
        }
        finally
        {
            commands.Leave();
        }
    }

    private async Task<HealthResult?> AskAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        var timeout = target.Check.Timeout.ToTimeSpan();
        using var deadline = new CancellationTokenSource(timeout, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            return await probe.CheckAsync(target, linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new HealthResult(false, $"no answer within {timeout.TotalSeconds:0.###} s");
        }
    }

    private void Take(HealthTarget target, HealthResult result, TimeSpan ran)
    {
        lock (_gate)
        {
            if (!ReferenceEquals(target, _target))
            {
                return;
            }

            var before = _state;
            _state = HealthRules.Next(before, result, target.Check, ran);
            if (_state.Verdict == before.Verdict)
            {
                if (_state.Verdict != HealthVerdict.Unhealthy || _state.Message == before.Message)
                {
                    return;
                }

                if (time.GetElapsedTime(_saidAt) < Limits.HealthMessageInterval)
                {
                    _state = _state with { Message = before.Message };
                    return;
                }
            }

            _saidAt = time.GetTimestamp();
        }

        changed();
    }
}
