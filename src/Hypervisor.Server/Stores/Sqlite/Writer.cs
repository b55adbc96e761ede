namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>The writing connection: what a commit is made of. Used by one thread.</summary>
internal sealed class Writer : IDisposable
{
    private const int CacheKiB = 16 * 1024;

    private readonly Database _database;
    private readonly Statement _begin;
    private readonly Statement _commit;
    private readonly Statement _rollback;
    private readonly Statement _head;
    private readonly Statement _value;
    private readonly Statement _append;
    private readonly Statement _insertHead;
    private readonly Statement _updateHead;
    private readonly Statement _setCompacted;
    private readonly Statement _setSwept;
    private readonly Statement _sweepRows;
    private readonly Statement _deleteRow;
    private readonly Statement _deleteHead;
    private readonly Dictionary<string, Head> _heads = new(StringComparer.Ordinal);

    /// <param name="maxPages">The file's largest size in pages, for tests; null means what the disk holds.</param>
    public Writer(string path, long? maxPages)
    {
        _database = Database.Open(path);
        try
        {
            Schema.Configure(_database, CacheKiB);
            Schema.CreateOrCheck(_database, path);
            if (maxPages is { } pages)
            {
                _database.Execute($"PRAGMA max_page_count={pages}");
            }

            _begin = _database.Prepare("BEGIN IMMEDIATE");
            _commit = _database.Prepare("COMMIT");
            _rollback = _database.Prepare("ROLLBACK");
            _head = _database.Prepare("SELECT id, created, version FROM heads WHERE key = ?1");
            _value = _database.Prepare("SELECT value FROM history WHERE id = ?1");
            _append = _database.Prepare("INSERT INTO history (id, key, created, version, previous, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
            _insertHead = _database.Prepare("INSERT INTO heads (key, id, created, version) VALUES (?1, ?2, ?3, ?4)");
            _updateHead = _database.Prepare("UPDATE heads SET id = ?2, created = ?3, version = ?4 WHERE key = ?1");
            _setCompacted = _database.Prepare("UPDATE meta SET compacted = ?1");
            _setSwept = _database.Prepare("UPDATE meta SET swept = ?1");
            _sweepRows = _database.Prepare("SELECT id, previous, version, key FROM history WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3");
            _deleteRow = _database.Prepare("DELETE FROM history WHERE id = ?1");
            _deleteHead = _database.Prepare("DELETE FROM heads WHERE key = ?1 AND id = ?2");

            // Compaction never removes a change of the newest revision, so the log itself remembers how far it came.
            Revision = Math.Max(Schema.FirstRevision, Schema.Revision(_database.Scalar("SELECT coalesce(max(id), 0) FROM history")));
            Compacted = _database.Scalar("SELECT compacted FROM meta");
            Swept = _database.Scalar("SELECT swept FROM meta");
        }
        catch
        {
            _database.Dispose();
            throw;
        }
    }

    /// <summary>Of the last commit when the connection was opened, then of the last change applied.</summary>
    public long Revision { get; private set; }

    public long Compacted { get; private set; }

    /// <summary>Compaction has dealt with all rows up to this id.</summary>
    public long Swept { get; private set; }

    public bool SweepPending => Swept < Schema.FirstId(Compacted) - 1;

    public void Begin() => _begin.Run();

    public void Commit() => _commit.Run();

    public void Rollback()
    {
        if (!_database.IsIdle)
        {
            _rollback.Run();
        }
    }

    /// <summary>After a rollback: these are the durable revisions. What was swept is found again by the next sweep.</summary>
    public void Return(long revision, long compacted)
    {
        (Revision, Compacted) = (revision, compacted);
        Swept = _database.Scalar("SELECT swept FROM meta");
    }

    /// <summary>Evaluates the transaction and applies its effects as the next revision.</summary>
    /// <returns>The answer, and the changes; null if there are none.</returns>
    public (TransactionResult Result, ChangeBatch? Changes) Apply(StoreTransaction transaction)
    {
        _heads.Clear();
        List<StoreOperation> effects = [];
        var evaluation = Evaluation.Of(transaction, Current, effects);
        var revision = Revision + 1;
        List<StoreChange> changes = new(effects.Count);
        foreach (var effect in effects)
        {
            switch (effect)
            {
                case StoreOperation.Put put:
                    changes.Add(Put(put, Schema.FirstId(revision) + changes.Count));
                    break;
                case StoreOperation.Delete delete when HeadOf(delete.Key) is { Version: > 0 } head:
                    var id = Schema.FirstId(revision) + changes.Count;
                    Write(id, delete.Key, head, 0, 0, default);
                    changes.Add(new StoreChange(new KeyValue(delete.Key, default, 0, revision, 0), true));
                    break;
            }
        }

        if (changes.Count == 0)
        {
            return (evaluation.ToResult(Revision), null);
        }

        Revision = revision;
        return (evaluation.ToResult(revision), new ChangeBatch(revision, changes));
    }

    public void Compact(long revision)
    {
        if (RevisionRules.CheckCompaction(revision, Revision, Compacted))
        {
            _setCompacted.Bind(1, revision).Run();
            Compacted = revision;
        }
    }

    /// <summary>
    /// Removes a step's worth of what the compaction made unreadable: what each row up to the compacted revision superseded,
    /// and deletions before it. Doing it twice does no harm.
    /// </summary>
    public void Sweep()
    {
        var end = Schema.FirstId(Compacted + 1);
        List<(long Id, long Previous, bool Deleted, string Key)> rows = [];
        _sweepRows.Bind(1, Swept).Bind(2, end).Bind(3, Limits.Sqlite.RowsPerStep);
        while (_sweepRows.Step())
        {
            rows.Add((_sweepRows.Int64(0), _sweepRows.Int64(1), _sweepRows.Int64(2) == 0, _sweepRows.Text(3)));
        }

        foreach (var row in rows)
        {
            if (row.Previous != 0)
            {
                _deleteRow.Bind(1, row.Previous).Run();
            }

            if (row.Deleted && row.Id < Schema.FirstId(Compacted))
            {
                _deleteRow.Bind(1, row.Id).Run();
                _deleteHead.Bind(1, row.Key).Bind(2, row.Id).Run();
            }
        }

        // Deletions of the compacted revision itself stay for watches that begin there, so the next sweep looks at it again.
        var done = Schema.FirstId(Compacted) - 1;
        Swept = rows.Count < Limits.Sqlite.RowsPerStep ? done : Math.Min(done, rows[^1].Id);
        _setSwept.Bind(1, Swept).Run();
    }

    public void Dispose() => _database.Dispose();

    private StoreChange Put(StoreOperation.Put put, long id)
    {
        var head = HeadOf(put.Key);
        var revision = Schema.Revision(id);
        var created = head.Version == 0 ? revision : head.Created;

        // Watches are fed with this value, and the caller's buffer may be used again.
        var value = put.Value.ToArray();
        Write(id, put.Key, head, created, head.Version + 1, value);
        return new StoreChange(new KeyValue(put.Key, value, created, revision, head.Version + 1), false);
    }

    private void Write(long id, string key, Head head, long created, long version, ReadOnlySpan<byte> value)
    {
        _append.Bind(1, id).Bind(2, key).Bind(3, created).Bind(4, version).Bind(5, head.Id).Bind(6, value).Run();
        (head.Id == 0 ? _insertHead : _updateHead).Bind(1, key).Bind(2, id).Bind(3, created).Bind(4, version).Run();
    }

    private KeyValue? Current(string key, bool withValue)
    {
        var head = HeadOf(key);
        return head.Version == 0 ? null : new KeyValue(key, withValue ? ValueOf(head.Id) : default, head.Created, Schema.Revision(head.Id), head.Version);
    }

    private byte[] ValueOf(long id)
    {
        _value.Bind(1, id).Step();
        var value = _value.Bytes(0).ToArray();
        _value.Reset();
        return value;
    }

    /// <summary>Looked up once per transaction, though compared and written.</summary>
    private Head HeadOf(string key)
    {
        if (!_heads.TryGetValue(key, out var head))
        {
            if (_head.Bind(1, key).Step())
            {
                head = new Head(_head.Int64(0), _head.Int64(1), _head.Int64(2));
                _head.Reset();
            }

            _heads.Add(key, head);
        }

        return head;
    }

    /// <param name="Id">0 if the key has no row.</param>
    /// <param name="Version">0 if it was deleted.</param>
    private readonly record struct Head(long Id, long Created, long Version);
}
