using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>What is to be checked: this check, of this run, at this address.</summary>
internal sealed record HealthTarget(HealthCheck Check, string Address, DateTimeOffset? StartedAt);

/// <summary>Checks one instance while it runs. Its owner says what to check; it says when the verdict changes.</summary>
/// <param name="changed">Called after <see cref="State"/> has changed its verdict or its reason.</param>
internal sealed class HealthMonitor(IHealthProbe probe, TimeProvider time, Action changed)
{
    private readonly Lock _gate = new();
    private HealthTarget? _target;
    private HealthState _state = HealthState.None;
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
                var result = await CheckOnceAsync(target, cancellationToken);
                Take(target, result, ran + time.GetElapsedTime(begun));
                await Task.Delay(interval, time, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Another target, or none.
        }
    }

    private async Task<HealthResult> CheckOnceAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        var timeout = target.Check.Timeout.ToTimeSpan();
        using var deadline = new CancellationTokenSource(timeout, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            return await probe.CheckAsync(target.Check, target.Address, linked.Token);
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
            if (_state.Verdict == before.Verdict && (_state.Verdict != HealthVerdict.Unhealthy || _state.Message == before.Message))
            {
                return;
            }
        }

        changed();
    }
}
