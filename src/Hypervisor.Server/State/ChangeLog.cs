namespace Hypervisor.Server.State;

/// <summary>
/// The last changes, whole revisions only, for any number of subscribers. A subscriber holds a position, not a queue: one
/// that falls further behind than the log reaches is told to read anew.
/// </summary>
/// <param name="maxRevisions">How many revisions are held.</param>
/// <param name="maxEntries">How many changed entries are held in all of them.</param>
internal sealed class ChangeLog(int maxRevisions, int maxEntries, TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly StateChange?[] _ring = new StateChange?[maxRevisions];
    private readonly HashSet<ChangeSubscription> _waiting = [];
    private long _first;
    private long _next;
    private int _entries;
    private long _floor;
    private long _revision;
    private long _term;
    private long _subscriptions;

    /// <summary>
    /// Every change after <paramref name="afterRevision"/>. When the log does not reach back so far, the first read says Resync.
    /// </summary>
    public ChangeSubscription Subscribe(long afterRevision)
    {
        lock (_lock)
        {
            var sequence = _next;
            while (sequence > _first && At(sequence - 1).Revision > afterRevision)
            {
                sequence--;
            }

            return new(this, time, _subscriptions++, afterRevision, sequence, afterRevision < _floor ? -1 : _term);
        }
    }

    /// <summary>Adds what one revision changed; an empty change only moves the log's revision.</summary>
    public void Append(StateChange change)
    {
        List<ChangeSubscription> waiting;
        lock (_lock)
        {
            _revision = change.Revision;
            if (change.IsEmpty)
            {
                return;
            }

            while (_next > _first && (_next - _first == _ring.Length || _entries + change.EntryCount > maxEntries))
            {
                var dropped = At(_first);
                _entries -= dropped.EntryCount;
                _floor = dropped.Revision;
                _ring[_first++ % _ring.Length] = null;
            }

            _ring[_next++ % _ring.Length] = change;
            _entries += change.EntryCount;
            waiting = TakeWaiting();
        }

        Wake(waiting);
    }

    /// <summary>The view was read anew: what lay between is unknown, so every subscriber has to read anew as well.</summary>
    public void Reset(long revision)
    {
        List<ChangeSubscription> waiting;
        lock (_lock)
        {
            Array.Clear(_ring);
            (_first, _entries) = (_next, 0);
            (_floor, _revision) = (revision, revision);
            _term++;
            waiting = TakeWaiting();
        }

        Wake(waiting);
    }

    /// <summary>The next change for a subscription; Idle when there is none, and then it is woken by the next if it waits.</summary>
    internal FeedRead Read(ChangeSubscription subscription, bool wait)
    {
        lock (_lock)
        {
            if (subscription.Term != _term || subscription.Sequence < _first)
            {
                return new(FeedReadKind.Resync, null, _revision);
            }

            while (subscription.Sequence < _next)
            {
                var change = At(subscription.Sequence++);
                if (change.Revision > subscription.AfterRevision)
                {
                    return new(FeedReadKind.Change, change, change.Revision);
                }
            }

            if (wait)
            {
                _waiting.Add(subscription);
            }

            return new(FeedReadKind.Idle, null, Math.Max(_revision, subscription.AfterRevision));
        }
    }

    internal void Forget(ChangeSubscription subscription)
    {
        lock (_lock)
        {
            _waiting.Remove(subscription);
        }
    }

    private StateChange At(long sequence) => _ring[sequence % _ring.Length]!;

    // In order of subscription: the order of a hash table must not decide who runs first.
    private List<ChangeSubscription> TakeWaiting()
    {
        List<ChangeSubscription> waiting = [.. _waiting.OrderBy(subscription => subscription.Number)];
        _waiting.Clear();
        return waiting;
    }

    private static void Wake(List<ChangeSubscription> waiting)
    {
        foreach (var subscription in waiting)
        {
            subscription.Wake();
        }
    }
}
