namespace Hypervisor.Server.Stores;

/// <summary>
/// Leadership behind a lease that is renewed three times in its duration. It ends once, at the latest when our own clock says
/// that the lease is over, whether or not the store can be reached.
/// </summary>
/// <remarks>
/// Renewals run on the synchronization context of the campaign, the expiry does not: a server that stands still loses its lease.
/// </remarks>
internal abstract class LeasedLeadership : ILeadership
{
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _lost = new();
    private readonly Lock _gate = new();
    private readonly ITimer _renewal;
    private readonly ITimer _expiry;
    private long _renewedAt;
    private bool _renewing;
    private Task? _ended;

    /// <param name="grantedAt">The duration counts from here: a timestamp from before the lease was asked for.</param>
    protected LeasedLeadership(Compare guard, TimeProvider time, TimeSpan duration, long grantedAt)
    {
        (Guard, _time, Duration, _renewedAt) = (guard, time, duration, grantedAt);
        Lost = _lost.Token;
        var context = SynchronizationContext.Current;
        var left = duration - time.GetElapsedTime(grantedAt);
        _expiry = time.CreateTimer(_ => ExpireIfDue(), null, left > TimeSpan.Zero ? left : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        _renewal = time.CreateTimer(
            _ =>
            {
                if (context is null)
                {
                    Renew(null);
                }
                else
                {
                    context.Post(Renew, null);
                }
            },
            null,
            duration / 3,
            duration / 3);

        void Renew(object? unused) => _ = RenewAsync();
    }

    /// <summary>What the holder of a lease hears when it asks for more time.</summary>
    protected enum Answer
    {
        Kept,
        Gone,

        /// <summary>Asked again while there is time left.</summary>
        Unknown,
    }

    public Compare Guard { get; }

    public CancellationToken Lost { get; }

    /// <summary>Of the lease, from each renewal on.</summary>
    protected TimeSpan Duration { get; }

    /// <summary>When the lease was last renewed, as a timestamp of the lease's clock.</summary>
    internal long RenewedAt => Interlocked.Read(ref _renewedAt);

    public async ValueTask DisposeAsync() => await EndAsync();

    /// <summary>Asks for another duration. One call at a time.</summary>
    protected abstract Task<Answer> KeepAsync();

    /// <summary>Gives up what is held, after the holder was told; a successor can lead from then on.</summary>
    protected abstract Task ReleaseAsync();

    /// <summary>The lease ended without being given up.</summary>
    protected virtual void OnLost()
    {
    }

    private async Task RenewAsync()
    {
        lock (_gate)
        {
            if (_ended is not null || _renewing || _time.GetElapsedTime(_renewedAt) >= Duration)
            {
                return;
            }

            _renewing = true;
        }

        try
        {
            var asked = _time.GetTimestamp();
            switch (await KeepAsync())
            {
                case Answer.Kept:
                    Extend(asked);
                    break;
                case Answer.Gone:
                    OnLost();
                    _ = EndAsync();
                    break;
            }
        }
        finally
        {
            lock (_gate)
            {
                _renewing = false;
            }
        }
    }

    private void Extend(long asked)
    {
        lock (_gate)
        {
            // The answer may have come after the end.
            var left = Duration - _time.GetElapsedTime(asked);
            if (_ended is null && left > TimeSpan.Zero && _time.GetElapsedTime(_renewedAt) < Duration)
            {
                Interlocked.Exchange(ref _renewedAt, asked);
                _expiry.Change(left, Timeout.InfiniteTimeSpan);
            }
        }
    }

    private void ExpireIfDue()
    {
        lock (_gate)
        {
            if (_ended is not null)
            {
                return;
            }

            // A renewal may have come between the timer's firing and here; and timers cut their time to whole milliseconds, so they may fire
            // before the clock says so. Without another look the lease would be over and its holder never know.
            var left = Duration - _time.GetElapsedTime(_renewedAt);
            if (left > TimeSpan.Zero)
            {
                _expiry.Change(TimeSpan.FromMilliseconds(Math.Ceiling(left.TotalMilliseconds)), Timeout.InfiniteTimeSpan);
                return;
            }
        }

        OnLost();
        _ = EndAsync();
    }

    private Task EndAsync()
    {
        TaskCompletionSource ended;
        lock (_gate)
        {
            if (_ended is not null)
            {
                return _ended;
            }

            ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _ended = ended.Task;
        }

        return ResignAsync(ended);
    }

    private async Task ResignAsync(TaskCompletionSource ended)
    {
        _renewal.Dispose();
        _expiry.Dispose();
        try
        {
            // Who led knows before a successor can lead. Not CancelAsync, which leaves for the thread pool.
            _lost.Cancel();
            await ReleaseAsync();
        }
        finally
        {
            ended.SetResult();
        }
    }
}
