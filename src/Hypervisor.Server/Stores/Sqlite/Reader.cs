namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>A connection that reads consistent snapshots beside the writer.</summary>
internal sealed class Reader : IDisposable
{
    private const int CacheKiB = 2048;

    private readonly Database _database;
    private readonly Statement _begin;
    private readonly Statement _end;
    private readonly Statement _state;
    private readonly Statement _heads;
    private readonly Statement _row;
    private readonly Statement _log;

    public Reader(string path)
    {
        _database = Database.Open(path);
        try
        {
            Schema.Configure(_database, CacheKiB);
            _database.Execute("PRAGMA query_only=1");
            _begin = _database.Prepare("BEGIN");
            _end = _database.Prepare("COMMIT");
            _state = _database.Prepare("SELECT coalesce((SELECT max(id) FROM history), 0), compacted FROM meta");
            _heads = _database.Prepare("SELECT key, id FROM heads WHERE key >= ?1 AND key < ?2 ORDER BY key");
            _row = _database.Prepare("SELECT created, version, previous, value FROM history WHERE id = ?1");
            _log = _database.Prepare("SELECT id, key, created, version, value FROM history WHERE id >= ?1 ORDER BY id");
        }
        catch
        {
            _database.Dispose();
            throw;
        }
    }

    public RangeResult Range(RangeQuery query) => InSnapshot((current, compacted) =>
    {
        var revision = query.Revision == 0 ? current : query.Revision;
        RevisionRules.CheckReadable(revision, current, compacted);
        List<KeyValue> items = [];
        _heads.Bind(1, query.Start).Bind(2, query.End);
        while (_heads.Step())
        {
            if (At(_heads, revision) is not { } found)
            {
                continue;
            }

            if (query.Limit > 0 && items.Count == query.Limit)
            {
                return new RangeResult(items, revision, true);
            }

            items.Add(found);
        }

        return new RangeResult(items, revision, false);
    });

    /// <summary>Whole revisions after the given one, until about a step's worth of rows or bytes is read.</summary>
    public WatchStep ReadLog(string prefix, long after) => InSnapshot((current, compacted) =>
    {
        RevisionRules.CheckWatchable(after + 1, compacted);
        List<ChangeBatch> batches = [];
        List<StoreChange> changes = [];
        var upTo = after;
        var rows = 0;
        long bytes = 0;
        _log.Bind(1, Schema.FirstId(after + 1));
        while (_log.Step())
        {
            var revision = Schema.Revision(_log.Int64(0));
            if (revision != upTo)
            {
                EndRevision();
                if (rows >= Limits.Sqlite.RowsPerStep || bytes >= Limits.Sqlite.BytesPerStep)
                {
                    return new WatchStep(batches, upTo);
                }

                upTo = revision;
            }

            rows++;
            var key = _log.Text(1);
            if (key.StartsWith(prefix, StringComparison.Ordinal))
            {
                var change = Change(key, revision);
                changes.Add(change);
                bytes += change.Current.Value.Length;
            }
        }

        EndRevision();
        return new WatchStep(batches, current);

        void EndRevision()
        {
            if (changes.Count > 0)
            {
                batches.Add(new ChangeBatch(upTo, changes));
                changes = [];
            }
        }
    });

    public void Dispose() => _database.Dispose();

    private StoreChange Change(string key, long revision)
    {
        var version = _log.Int64(3);
        return version == 0
            ? new StoreChange(new KeyValue(key, default, 0, revision, 0), true)
            : new StoreChange(new KeyValue(key, _log.Bytes(4).ToArray(), _log.Int64(2), revision, version), false);
    }

    /// <summary>The head's key as of the revision; null if it did not exist. A row that is gone was a compacted deletion.</summary>
    private KeyValue? At(Statement head, long revision)
    {
        for (var id = head.Int64(1); id != 0;)
        {
            var row = _row.Bind(1, id);
            if (!row.Step())
            {
                return null;
            }

            var (version, previous) = (row.Int64(1), row.Int64(2));
            if (Schema.Revision(id) <= revision)
            {
                KeyValue? found = version == 0
                    ? null
                    : new KeyValue(head.Text(0), row.Bytes(3).ToArray(), row.Int64(0), Schema.Revision(id), version);
                row.Reset();
                return found;
            }

            row.Reset();
            id = previous;
        }

        return null;
    }

    private T InSnapshot<T>(Func<long, long, T> read)
    {
        _begin.Run();
        try
        {
            _state.Step();
            var current = Math.Max(Schema.FirstRevision, Schema.Revision(_state.Int64(0)));
            var compacted = _state.Int64(1);
            _state.Reset();
            return read(current, compacted);
        }
        finally
        {
            _heads.Reset();
            _log.Reset();
            _row.Reset();
            _end.Run();
        }
    }
}
