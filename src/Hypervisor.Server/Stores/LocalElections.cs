namespace Hypervisor.Server.Stores;

/// <summary>
/// Leadership for stores whose candidates all live in this process. A lease is held on the given clock; the seat passes in
/// the order of campaigns.
/// </summary>
/// <remarks>
/// The holder's renewals run on the synchronization context on which it campaigned, the expiry does not: a candidate whose
/// context stands still (a paused or dead server in the simulation) loses its lease as it would in etcd, and one that does
/// not take the seat when its turn comes loses the turn.
/// </remarks>
internal sealed class LocalElections(IClusterStore store, TimeProvider time)
{
    private readonly IClusterStore _store = store;
    private readonly TimeProvider _time = time;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedList<Turn>> _waiting = new(StringComparer.Ordinal);

    /// <inheritdoc cref="IClusterStore.CampaignAsync"/>
    public async Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(leaseDuration, StoreLimits.MinLeaseDuration);
        await TakeSeatAsync(election, leaseDuration, cancellationToken);
        try
        {
            var key = Keys.Leader(election);
            var value = System.Text.Encoding.UTF8.GetBytes(candidate);
            while (true)
            {
                // The seat is ours, so a key that is still there belongs to a holder that could not remove it.
                var result = await _store.TransactAsync(
                    new StoreTransaction([Compare.Absent(key)], [new StoreOperation.Put(key, value)], [new StoreOperation.Delete(key)]),
                    cancellationToken);
                if (result.Succeeded)
                {
                    return new Lease(this, election, Compare.Created(key, result.Revision), leaseDuration);
                }
            }
        }
        catch
        {
            LeaveSeat(election);
            throw;
        }
    }

    private async Task TakeSeatAsync(string election, TimeSpan patience, CancellationToken cancellationToken)
    {
        while (await WaitForTurnAsync(election, patience, cancellationToken) is { } turn)
        {
            lock (_gate)
            {
                if (turn.TryTake())
                {
                    return;
                }
            }
        }
    }

    /// <summary>Null when the seat was free and is taken.</summary>
    private async Task<Turn?> WaitForTurnAsync(string election, TimeSpan patience, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var turn = new Turn(patience);
        LinkedListNode<Turn> place;
        lock (_gate)
        {
            if (!_waiting.TryGetValue(election, out var line))
            {
                _waiting.Add(election, new LinkedList<Turn>());
                return null;
            }

            place = line.AddLast(turn);
        }

        using var registration = cancellationToken.UnsafeRegister(
            _ =>
            {
                lock (_gate)
                {
                    if (place.List is not { } line)
                    {
                        return;
                    }

                    line.Remove(place);
                }

                turn.Cancel(cancellationToken);
            },
            null);
        await turn.Came;
        return turn;
    }

    private void LeaveSeat(string election)
    {
        lock (_gate)
        {
            var line = _waiting[election];
            if (line.First?.Value is not { } next)
            {
                _waiting.Remove(election);
                return;
            }

            line.RemoveFirst();
            next.Come(_time, () => LeaveUntaken(election, next));
        }
    }

    private void LeaveUntaken(string election, Turn turn)
    {
        lock (_gate)
        {
            if (!turn.TryForfeit())
            {
                return;
            }
        }

        LeaveSeat(election);
    }

    /// <summary>One candidate's place in the line. Used under the gate, but for <see cref="Came"/>.</summary>
    /// <param name="patience">How long the seat is kept free for it once its turn has come.</param>
    private sealed class Turn(TimeSpan patience)
    {
        private readonly TaskCompletionSource _came = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private ITimer? _forfeit;
        private bool _taken;
        private bool _forfeited;

        public Task Came => _came.Task;

        public void Come(TimeProvider time, Action forfeit)
        {
            _forfeit = time.CreateTimer(static action => ((Action)action!)(), forfeit, patience, Timeout.InfiniteTimeSpan);
            _came.TrySetResult();
        }

        public void Cancel(CancellationToken cancellationToken) => _came.TrySetCanceled(cancellationToken);

        /// <summary>False when the seat went to the next one meanwhile.</summary>
        public bool TryTake()
        {
            _forfeit?.Dispose();
            return _taken = !_forfeited;
        }

        public bool TryForfeit() => _forfeited = !_taken;
    }

    private sealed class Lease(LocalElections elections, string election, Compare guard, TimeSpan duration)
        : LeasedLeadership(guard, elections._time, duration, elections._time.GetTimestamp())
    {
        // Nobody else can take it: what runs out is the patience with a server that stands still.
        protected override Task<Answer> KeepAsync() => Task.FromResult(Answer.Kept);

        protected override async Task ReleaseAsync()
        {
            try
            {
                await elections._store.TransactAsync(
                    new StoreTransaction([Guard], [new StoreOperation.Delete(Guard.Key)]), CancellationToken.None);
            }
            catch (Exception exception) when (exception is StoreUnavailableException or ObjectDisposedException)
            {
                // The key stays behind; the next campaign, or the next opening of the store, removes it.
            }
            finally
            {
                elections.LeaveSeat(election);
            }
        }
    }
}
