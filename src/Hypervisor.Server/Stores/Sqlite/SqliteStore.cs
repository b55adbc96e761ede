using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Hypervisor.Hosting.Waiting;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>Settings of the embedded store.</summary>
/// <param name="MaxPages">The largest size of the file in pages of 4 KiB; null means what the disk holds.</param>
internal sealed record SqliteStoreOptions(long? MaxPages = null);

/// <summary>The embedded store: one file, one process, one thread that writes, and readers that never wait for it.</summary>
internal sealed class SqliteStore : IClusterStore
{
    private readonly string _path;
    private readonly FileStream _lock;
    private readonly RecentChanges _recent;
    private readonly CommitThread _commits;
    private readonly LocalElections _elections;
    private readonly SemaphoreSlim _readerPlaces = new(Limits.Sqlite.Readers);
    private readonly ConcurrentStack<Reader> _idleReaders = new();
    private int _disposed;

    private SqliteStore(string path, FileStream fileLock, Writer writer, TimeProvider time, ILogger logger, SqliteStoreOptions options)
    {
        (_path, _lock) = (path, fileLock);
        _recent = new RecentChanges(writer.Revision, writer.Compacted);
        _commits = new CommitThread(path, options.MaxPages, writer, _recent, logger);
        _elections = new LocalElections(this, time);
    }

    public string Kind => "sqlite";

    /// <summary>Opens the file, or creates it; its folder must exist. Removes the leader keys of the process that had it before.</summary>
    /// <exception cref="StoreUnavailableException">
    /// Another process has it open, it is damaged or of another version, or the disk does not let us.
    /// </exception>
    public static async Task<SqliteStore> OpenAsync(
        string path, TimeProvider time, ILogger<SqliteStore>? logger = null, SqliteStoreOptions? options = null)
    {
        options ??= new SqliteStoreOptions();
        var fileLock = StoreLock.Acquire(path);
        SqliteStore store;
        try
        {
            CreatePrivate(path);
            store = new SqliteStore(
                path, fileLock, new Writer(path, options.MaxPages), time, logger ?? NullLogger<SqliteStore>.Instance, options);
        }
        catch (SqliteFailureException exception)
        {
            await fileLock.DisposeAsync();
            throw exception.ToUnavailable();
        }
        catch
        {
            await fileLock.DisposeAsync();
            throw;
        }

        try
        {
            await store.RemoveLeadersAsync();
            return store;
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }

    public ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ThrowIfDisposed();
        return ValueTask.FromResult(_recent.Revision);
    }

    public async ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        ArgumentOutOfRangeException.ThrowIfNegative(query.Revision);
        return await ReadAsync(reader => reader.Range(query), cancellationToken);
    }

    public async ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        TransactionRules.Check(transaction);
        return await _commits.TransactAsync(transaction, cancellationToken);
    }

    public async IAsyncEnumerable<ChangeBatch> WatchAsync(
        string prefix, long fromRevision, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(fromRevision, 1);
        var signal = new Signal();
        _recent.Add(signal);
        try
        {
            var delivered = fromRevision - 1;
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var step = _recent.Read(prefix, delivered) ?? await ReadAsync(reader => reader.ReadLog(prefix, delivered), cancellationToken);
                foreach (var batch in step.Batches)
                {
                    yield return batch;
                    cancellationToken.ThrowIfCancellationRequested();
                }

                if (step.UpTo <= delivered)
                {
                    await signal.WaitAsync(cancellationToken);
                    continue;
                }

                if (step.Batches.Count == 0 || step.Batches[^1].Revision < step.UpTo)
                {
                    yield return new ChangeBatch(step.UpTo, []);
                }

                delivered = step.UpTo;
            }
        }
        finally
        {
            _recent.Remove(signal);
        }
    }

    public async ValueTask CompactAsync(long revision, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        await _commits.CompactAsync(revision, cancellationToken);
    }

    public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
        _elections.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _recent.Close();
        await _commits.DisposeAsync();
        for (var reader = 0; reader < Limits.Sqlite.Readers; reader++)
        {
            await _readerPlaces.WaitAsync();
        }

        while (_idleReaders.TryPop(out var idle))
        {
            idle.Dispose();
        }

        await _lock.DisposeAsync();
    }

    /// <summary>Node secrets are in it: nobody else may read the file. SQLite gives its other files the same mode.</summary>
    private static void CreatePrivate(string path)
    {
        if (File.Exists(path))
        {
            return;
        }

        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using var file = new FileStream(path, options);
    }

    private async Task RemoveLeadersAsync()
    {
        var leaders = await RangeAsync(RangeQuery.Prefix(Keys.Leaders), CancellationToken.None);
        foreach (var leader in leaders.Items)
        {
            await TransactAsync(new StoreTransaction([], [new StoreOperation.Delete(leader.Key)]), CancellationToken.None);
        }
    }

    private async ValueTask<T> ReadAsync<T>(Func<Reader, T> read, CancellationToken cancellationToken)
    {
        await _readerPlaces.WaitAsync(cancellationToken);
        try
        {
            ThrowIfDisposed();
            var reader = _idleReaders.TryPop(out var idle) ? idle : new Reader(_path);
            try
            {
                var result = read(reader);
                _idleReaders.Push(reader);
                return result;
            }
            catch (Exception exception) when (exception is RevisionCompactedException or ArgumentException)
            {
                _idleReaders.Push(reader);
                throw;
            }
            catch
            {
                reader.Dispose();
                throw;
            }
        }
        catch (SqliteFailureException exception)
        {
            throw exception.ToUnavailable();
        }
        finally
        {
            _readerPlaces.Release();
        }
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
}
