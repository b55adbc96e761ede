using System.Runtime.CompilerServices;
using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Server.Stores.Memory;

/// <summary>
/// The store for the simulation and for tests: everything in memory, every call completes at once, and on one thread a run
/// is repeated exactly.
/// </summary>
internal sealed class MemoryStore : IClusterStore
{
    /// <summary>Watches copy so many revisions out of the log at a time.</summary>
    private const int WatchChunk = 64;

    private readonly Lock _gate = new();
    private readonly SortedSet<string> _keys = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<StoreChange>> _versions = new(StringComparer.Ordinal);
    private readonly List<ChangeBatch> _log = [];
    private readonly List<Signal> _watchers = [];
    private readonly LocalElections _elections;
    private long _revision = 1;
    private long _compacted;
    private bool _disposed;

    public MemoryStore(TimeProvider time) => _elections = new LocalElections(this, time);

    public string Kind => "memory";

    public ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return ValueTask.FromResult(_revision);
        }
    }

    public ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var revision = query.Revision == 0 ? _revision : query.Revision;
            RevisionRules.CheckReadable(revision, _revision, _compacted);
            List<KeyValue> items = [];
            var more = false;
            foreach (var key in KeysBetween(query.Start, query.End))
            {
                if (At(key, revision) is not { } found)
                {
                    continue;
                }

                if (query.Limit > 0 && items.Count == query.Limit)
                {
                    more = true;
                    break;
                }

                items.Add(found);
            }

            return ValueTask.FromResult(new RangeResult(items, revision, more));
        }
    }

    public ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        TransactionRules.Check(transaction);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            List<StoreOperation> effects = [];
            var evaluation = Evaluation.Of(transaction, (key, _) => Current(key), effects);
            var changes = Apply(effects);
            if (changes.Count > 0)
            {
                _revision++;
                _log.Add(new ChangeBatch(_revision, changes));
                WakeWatchers();
            }

            return ValueTask.FromResult(evaluation.ToResult(_revision));
        }
    }

    public async IAsyncEnumerable<ChangeBatch> WatchAsync(
        string prefix, long fromRevision, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(fromRevision, 1);
        var signal = new Signal();
        lock (_gate)
        {
            _watchers.Add(signal);
        }

        try
        {
            var delivered = fromRevision - 1;
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var (chunk, upTo) = ReadLog(prefix, delivered);
                foreach (var batch in chunk)
                {
                    yield return batch;
                    cancellationToken.ThrowIfCancellationRequested();
                }

                if (upTo > delivered && (chunk.Count == 0 || chunk[^1].Revision < upTo))
                {
                    yield return new ChangeBatch(upTo, []);
                }

                if (upTo <= delivered)
                {
                    await signal.WaitAsync(cancellationToken);
                }

                delivered = Math.Max(delivered, upTo);
            }
        }
        finally
        {
            lock (_gate)
            {
                _watchers.Remove(signal);
            }
        }
    }

    public ValueTask CompactAsync(long revision, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!RevisionRules.CheckCompaction(revision, _revision, _compacted))
            {
                return ValueTask.CompletedTask;
            }

            var oldest = _compacted = revision;
            _log.RemoveAll(batch => batch.Revision < oldest);
            foreach (var (key, versions) in _versions.ToList())
            {
                // The newest value at the compacted revision stays, a deletion only if it is of that very revision.
                var newest = versions.FindLastIndex(version => version.Current.ModRevision <= oldest);
                if (newest > 0)
                {
                    versions.RemoveRange(0, newest);
                }

                if (newest >= 0 && versions[0].Deleted && versions[0].Current.ModRevision < oldest)
                {
                    versions.RemoveAt(0);
                }

                if (versions.Count == 0)
                {
                    _versions.Remove(key);
                    _keys.Remove(key);
                }
            }

            // A watch that is behind learns it now and not with the next change.
            WakeWatchers();
            return ValueTask.CompletedTask;
        }
    }

    public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
        _elections.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

    public ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _disposed = true;
            WakeWatchers();
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>The matching batches after a revision, and the revision up to which they are complete.</summary>
    private (List<ChangeBatch> Chunk, long UpTo) ReadLog(string prefix, long after)
    {
        lock (_gate)
        {
            if (_disposed)
            {
                throw new StoreUnavailableException("The store was closed; watch again once it is open.");
            }

            RevisionRules.CheckWatchable(after + 1, _compacted);
            List<ChangeBatch> chunk = [];
            var upTo = after;
            for (var index = _log.Count == 0 ? 0 : (int)Math.Max(0, after + 1 - _log[0].Revision); index < _log.Count && chunk.Count < WatchChunk; index++)
            {
                upTo = _log[index].Revision;
                if (_log[index].Matching(prefix) is { } batch)
                {
                    chunk.Add(batch);
                }
            }

            // An empty store has a revision without a change.
            return (chunk, _log.Count == 0 ? Math.Max(after, _revision) : upTo);
        }
    }

    private List<StoreChange> Apply(List<StoreOperation> effects)
    {
        List<StoreChange> changes = new(effects.Count);
        var revision = _revision + 1;
        foreach (var effect in effects)
        {
            var change = effect switch
            {
                StoreOperation.Put put => Put(put, revision),
                StoreOperation.Delete delete when Current(delete.Key) is not null =>
                    new StoreChange(new KeyValue(delete.Key, default, 0, revision, 0), true),
                _ => (StoreChange?)null,
            };
            if (change is { } made)
            {
                if (!_versions.TryGetValue(made.Current.Key, out var versions))
                {
                    _versions.Add(made.Current.Key, versions = []);
                    _keys.Add(made.Current.Key);
                }

                versions.Add(made);
                changes.Add(made);
            }
        }

        return changes;
    }

    private StoreChange Put(StoreOperation.Put put, long revision)
    {
        // The caller's buffer may be used again; what is stored may not change.
        var value = put.Value.ToArray();
        return Current(put.Key) is { } existing
            ? new StoreChange(new KeyValue(put.Key, value, existing.CreateRevision, revision, existing.Version + 1), false)
            : new StoreChange(new KeyValue(put.Key, value, revision, revision, 1), false);
    }

    private KeyValue? Current(string key) => At(key, long.MaxValue);

    private KeyValue? At(string key, long revision)
    {
        if (!_versions.TryGetValue(key, out var versions))
        {
            return null;
        }

        for (var index = versions.Count - 1; index >= 0; index--)
        {
            if (versions[index].Current.ModRevision <= revision)
            {
                return versions[index].Deleted ? null : versions[index].Current;
            }
        }

        return null;
    }

    private IEnumerable<string> KeysBetween(string start, string end) =>
        string.CompareOrdinal(start, end) >= 0
            ? []
            : _keys.GetViewBetween(start, end).TakeWhile(key => string.CompareOrdinal(key, end) < 0);

    private void WakeWatchers()
    {
        foreach (var watcher in _watchers)
        {
            watcher.Set();
        }
    }
}
