using Hypervisor.Protocol;

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

    /// <summary>Subscriptions to what concerns one node: of tens of thousands a change finds its few without asking the others.</summary>
    private readonly Dictionary<NodeId, List<ChangeSubscription>> _ofNodes = [];
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
            waiting = TakeWaiting(Concerned(change));
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
            waiting = TakeWaiting(_ofNodes.Values.SelectMany(subscriptions => subscriptions));
        }

        Wake(waiting);
    }

    /// <summary>The next change for a subscription; Idle when there is none, and then it is woken by the next if it waits.</summary>
    internal FeedRead Read(ChangeSubscription subscription, bool wait)
    {
        lock (_lock)
        {
            if (subscription.Term != _term || subscription.Next(_next) < _first)
            {
                return new(FeedReadKind.Resync, null, _revision);
            }

            while (subscription.Next(_next) is var next && next < _next)
            {
                var change = At(next);
                subscription.Passed(next);
                if (change.Revision > subscription.AfterRevision)
                {
                    return new(FeedReadKind.Change, change, change.Revision);
                }
            }

            if (wait && subscription.Node is not null)
            {
                subscription.Waits = true;
            }
            else if (wait)
            {
                _waiting.Add(subscription);
            }

            return new(FeedReadKind.Idle, null, Math.Max(_revision, subscription.AfterRevision));
        }
    }

    /// <summary>From its next read on the subscription is about one node, or with null about everything again.</summary>
    internal void Follow(ChangeSubscription subscription, NodeId? node)
    {
        lock (_lock)
        {
            if (subscription.Node is { } former && _ofNodes.TryGetValue(former, out var others))
            {
                others.Remove(subscription);
                if (others.Count == 0)
                {
                    _ofNodes.Remove(former);
                }

                subscription.Sequence = subscription.Next(_next);
                subscription.Ahead.Clear();
            }

            subscription.Node = node;
            if (node is not { } id)
            {
                return;
            }

            (_ofNodes.TryGetValue(id, out var known) ? known : _ofNodes[id] = []).Add(subscription);
            for (var sequence = Math.Max(subscription.Sequence, _first - 1); sequence < _next; sequence++)
            {
                if (sequence < _first || At(sequence).ConcernedNodes().Contains(id))
                {
                    subscription.Ahead.Enqueue(sequence);
                }
            }
        }
    }

    internal void Forget(ChangeSubscription subscription)
    {
        lock (_lock)
        {
            _waiting.Remove(subscription);
            subscription.Waits = false;
        }
    }

    private StateChange At(long sequence) => _ring[sequence % _ring.Length]!;

    /// <summary>Those about a node that the change concerns; they are told where to find it.</summary>
    private List<ChangeSubscription> Concerned(StateChange change)
    {
        List<ChangeSubscription> concerned = [];
        if (_ofNodes.Count > 0)
        {
            foreach (var node in change.ConcernedNodes().Distinct())
            {
                concerned.AddRange(_ofNodes.GetValueOrDefault(node) ?? []);
            }
        }

        foreach (var subscription in concerned)
        {
            // One that does not read has to read anew, not to keep more than the log does.
            if (subscription.Ahead.TryPeek(out var oldest) && oldest < _first)
            {
                subscription.Ahead.Clear();
                subscription.Ahead.Enqueue(oldest);
            }

            subscription.Ahead.Enqueue(_next - 1);
        }

        return concerned;
    }

    // In order of subscription: the order of a hash table must not decide who runs first.
    private List<ChangeSubscription> TakeWaiting(IEnumerable<ChangeSubscription> ofNodes)
    {
        List<ChangeSubscription> waiting =
            [.. _waiting.Concat(ofNodes.Where(subscription => subscription.Waits)).OrderBy(subscription => subscription.Number)];
        waiting.ForEach(subscription => subscription.Waits = false);
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
