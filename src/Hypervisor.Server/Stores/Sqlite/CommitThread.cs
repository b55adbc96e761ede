namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>
/// The only thread that writes. Transactions that came while a commit was under way share the next one, each as a revision
/// of its own; none is answered before the commit has returned. Between commits it sweeps what was compacted.
/// </summary>
internal sealed partial class CommitThread : IAsyncDisposable
{
    private readonly string _path;
    private readonly long? _maxPages;
    private readonly RecentChanges _recent;
    private readonly ILogger _logger;
    private readonly Lock _gate = new();
    private readonly Queue<Request> _queue = new();
    private readonly SemaphoreSlim _places = new(Limits.Sqlite.QueuedTransactions);
    private readonly AutoResetEvent _work = new(false);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _thread;
    private Writer? _writer;
    private bool _sweepPaused;
    private bool _closing;

    /// <param name="writer">Owned by the thread from now on.</param>
    public CommitThread(string path, long? maxPages, Writer writer, RecentChanges recent, ILogger logger)
    {
        (_path, _maxPages, _writer, _recent, _logger) = (path, maxPages, writer, recent, logger);
        _thread = new Thread(Run) { Name = "store-commit", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Durable when it returns. Cancelled: may still take effect.</summary>
    public Task<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken) =>
        SendAsync(new Request(transaction, 0), cancellationToken);

    public Task CompactAsync(long revision, CancellationToken cancellationToken) =>
        SendAsync(new Request(null, revision), cancellationToken);

    /// <summary>Commits what was accepted, then ends the thread.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _closing = true;
        }

        _work.Set();
        await _ended.Task;
        _work.Dispose();
    }

    private async Task<TransactionResult> SendAsync(Request request, CancellationToken cancellationToken)
    {
        await _places.WaitAsync(cancellationToken);
        lock (_gate)
        {
            if (_closing)
            {
                _places.Release();
                throw new ObjectDisposedException(nameof(SqliteStore));
            }

            _queue.Enqueue(request);
            _work.Set();
        }

        using var registration = cancellationToken.UnsafeRegister(_ => request.Outcome.TrySetCanceled(cancellationToken), null);
        return await request.Outcome.Task;
    }

    private void Run()
    {
        while (true)
        {
            var (group, closing) = TakeGroup();
            if (group.Count > 0)
            {
                CommitGroup(group);
            }
            else if (closing)
            {
                break;
            }

            if (!_sweepPaused && _writer is { SweepPending: true })
            {
                Sweep();
            }
            else if (group.Count == 0)
            {
                _work.WaitOne();
            }
        }

        _writer?.Dispose();
        _ended.SetResult();
    }

    private (List<Request> Group, bool Closing) TakeGroup()
    {
        List<Request> group = [];
        long bytes = 0;
        lock (_gate)
        {
            while (group.Count < Limits.Sqlite.TransactionsPerCommit && bytes < Limits.Sqlite.BytesPerCommit && _queue.TryDequeue(out var request))
            {
                bytes += request.Bytes;
                group.Add(request);
            }

            if (group.Count > 0)
            {
                _places.Release(group.Count);
            }

            return (group, _closing);
        }
    }

    private void CommitGroup(List<Request> group)
    {
        group.RemoveAll(request => request.Outcome.Task.IsCompleted);
        List<ChangeBatch> changes = new(group.Count);
        List<(Request Request, TransactionResult? Result, Exception? Refusal)> answers = new(group.Count);
        Exception failure;
        try
        {
            var writer = OpenWriter();
            writer.Begin();
            foreach (var request in group)
            {
                answers.Add(Execute(writer, request, changes));
            }

            writer.Commit();
            _sweepPaused = false;
            _recent.Publish(changes, writer.Compacted);
            foreach (var (request, result, refusal) in answers)
            {
                request.Answer(result, refusal);
            }

            return;
        }
        catch (SqliteFailureException exception)
        {
            LogCommitFailed(_logger, exception, group.Count);
            failure = exception.ToUnavailable();
            Recover(exception.IsDiskFull);
        }
        catch (StoreUnavailableException exception)
        {
            failure = exception;
            Recover(keepConnection: false);
        }
#pragma warning disable CA1031 // The thread must go on whatever happens; those who asked get the exception.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            LogCommitFailed(_logger, exception, group.Count);
            failure = new StoreUnavailableException($"The store failed in a way that is its own error: {exception.Message}", exception);
            Recover(keepConnection: false);
        }

        foreach (var request in group)
        {
            request.Answer(null, failure);
        }
    }

    private static (Request Request, TransactionResult? Result, Exception? Refusal) Execute(Writer writer, Request request, List<ChangeBatch> changes)
    {
        if (request.Transaction is null)
        {
            try
            {
                writer.Compact(request.Compact);
                return (request, new TransactionResult(true, writer.Revision, []), null);
            }
            catch (ArgumentOutOfRangeException refusal)
            {
                return (request, null, refusal);
            }
        }

        var (result, batch) = writer.Apply(request.Transaction);
        if (batch is not null)
        {
            changes.Add(batch);
        }

        return (request, result, null);
    }

    /// <summary>
    /// The connection, opened anew after an error that may have left it in doubt. A commit whose fsync failed may then turn
    /// out to have reached the disk; its callers were told that its outcome is unknown, and watches read it from the file.
    /// </summary>
    private Writer OpenWriter()
    {
        if (_writer is null)
        {
            _writer = new Writer(_path, _maxPages);
            _recent.Restart(_writer.Revision);
        }

        return _writer;
    }

    private void Recover(bool keepConnection)
    {
        if (_writer is null)
        {
            return;
        }

        try
        {
            _writer.Rollback();
        }
        catch (SqliteFailureException exception)
        {
            LogCommitFailed(_logger, exception, 0);
            keepConnection = false;
        }

        if (keepConnection)
        {
            // What was rolled back never happened.
            _writer.Return(_recent.Revision, _recent.Compacted);
            return;
        }

        _writer.Dispose();
        _writer = null;
    }

    private void Sweep()
    {
        var writer = _writer!;
        try
        {
            writer.Begin();
            writer.Sweep();
            writer.Commit();
        }
        catch (SqliteFailureException exception)
        {
            // On a full disk even removing needs room in the log. The next successful commit starts it again.
            LogSweepFailed(_logger, exception);
            _sweepPaused = true;
            Recover(exception.IsDiskFull);
        }
    }

    [LoggerMessage(EventId = 1, Level = LogLevel.Error, Message = "A commit of {Transactions} transactions failed")]
    private static partial void LogCommitFailed(ILogger logger, Exception exception, int transactions);

    [LoggerMessage(EventId = 2, Level = LogLevel.Warning, Message = "Removing compacted history failed; it goes on after the next commit")]
    private static partial void LogSweepFailed(ILogger logger, Exception exception);

    /// <param name="Compact">The revision to compact, if there is no transaction.</param>
    private sealed record Request(StoreTransaction? Transaction, long Compact)
    {
        public TaskCompletionSource<TransactionResult> Outcome { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public long Bytes { get; } = Transaction is null ? 0 : TransactionRules.Bytes(Transaction);

        public void Answer(TransactionResult? result, Exception? failure)
        {
            if (result is not null)
            {
                Outcome.TrySetResult(result);
            }
            else
            {
                Outcome.TrySetException(failure!);
            }
        }
    }
}
