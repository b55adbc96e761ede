using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Stores;

/// <summary>A write of its own: all of its operations if all its compares hold, else nothing.</summary>
/// <param name="Compares">A leader's write carries <see cref="ILeadership.Guard"/> here.</param>
/// <param name="Operations">Puts and deletes, each key once.</param>
internal sealed record StoreWrite(IReadOnlyList<Compare> Compares, IReadOnlyList<StoreOperation> Operations);

/// <summary>What became of a write.</summary>
/// <param name="Succeeded">The compares held and the operations were applied.</param>
/// <param name="Revision">A view that has reached this revision shows the write, or what it lost against.</param>
internal readonly record struct WriteResult(bool Succeeded, long Revision);

/// <summary>
/// The front of the store that all writers share. Writes that come while a batch is in flight are joined into the next
/// one: one store transaction with one nested transaction per write, so that a lost race fails one write only.
/// </summary>
/// <remarks>
/// The store evaluates all compares before any change. So that a batch means the same as its writes one after the other, a
/// write that touches what the batch already writes, or writes what it already compares, waits for a later batch; and so
/// does every later write that touches the waiting one's keys in that way. Writes of one key thus happen in the order in
/// which <see cref="WriteAsync"/> was called, and a write waits at most for those called before it.
/// While a batch is in flight, another one follows only if it is full and shares no key with it in that way: so writes still
/// gather, and under load several batches share what costs most, an fsync or a round of etcd's.
/// Runs on its callers' synchronization context; it has no thread of its own.
/// </remarks>
internal sealed class StoreWriter(IClusterStore store, TimeProvider? time = null) : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly LinkedList<PendingWrite> _queue = new();
    private readonly List<Batch> _inFlight = [];
    private long _queuedBytes;
    private int _worthLookingAt = StoreLimits.MaxOperations;
    private TaskCompletionSource? _idle;
    private bool _closed;

    /// <summary>Writes that wait behind the batches in flight.</summary>
    public int QueuedWrites
    {
        get
        {
            lock (_gate)
            {
                return _queue.Count;
            }
        }
    }

    /// <summary>Writes that were accepted and have no outcome yet: those that wait, and those in flight.</summary>
    public int UnansweredWrites
    {
        get
        {
            lock (_gate)
            {
                return _queue.Count + _inFlight.Sum(batch => batch.Writes.Count);
            }
        }
    }

    /// <summary>Durable when it returns. Cancelling a write that waits removes it; one in flight may still take effect.</summary>
    /// <exception cref="ArgumentException">The store would refuse the write by itself (see <see cref="IClusterStore.TransactAsync"/>).</exception>
    /// <exception cref="StoreBusyException">Too many writes wait; nothing happened.</exception>
    /// <exception cref="StoreUnavailableException">The outcome of this write is unknown.</exception>
    public async Task<WriteResult> WriteAsync(StoreWrite write, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var pending = PendingWrite.Of(write);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            if (_queue.Count >= Limits.Store.QueuedWrites || _queuedBytes + pending.Bytes > Limits.Store.QueuedWriteBytes)
            {
                throw new StoreBusyException(
                    $"{_queue.Count} writes with {_queuedBytes} bytes wait for the store already; try again in {Limits.Store.RetryAfter.TotalMilliseconds} ms.",
                    Limits.Store.RetryAfter);
            }

            pending.Place = _queue.AddLast(pending);
            _queuedBytes += pending.Bytes;
        }

        using var registration = cancellationToken.UnsafeRegister(_ => Cancel(pending, cancellationToken), null);
        SendBatches();
        return await pending.Outcome.Task;
    }

    /// <summary>Refuses further writes and waits for those accepted; none is left without an outcome.</summary>
    public async ValueTask DisposeAsync()
    {
        Task? idle;
        lock (_gate)
        {
            _closed = true;
            idle = _idle?.Task;
        }

        if (idle is not null)
        {
            await idle;
        }
    }

    private void Cancel(PendingWrite pending, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (pending.Place.List is not null)
            {
                Dequeue(pending);
            }
        }

        pending.Outcome.TrySetCanceled(cancellationToken);
    }

    private void SendBatches()
    {
        while (true)
        {
            Batch? batch;
            lock (_gate)
            {
                batch = NextBatch();
            }

            if (batch is null)
            {
                return;
            }

            _ = SendAsync(batch);
        }
    }

    /// <summary>What can be sent now; null if nothing can, or if waiting for more is better.</summary>
    private Batch? NextBatch()
    {
        if (_queue.Count == 0 && _inFlight.Count == 0)
        {
            _idle?.SetResult();
            _idle = null;
        }

        if (_queue.Count == 0 || _inFlight.Count == Limits.Store.BatchesInFlight || (_inFlight.Count > 0 && _queue.Count < _worthLookingAt))
        {
            return null;
        }

        var batch = TakeBatch(onlyFull: _inFlight.Count > 0);
        if (batch is null)
        {
            // What waits are writes of keys in flight: not worth another look before many more have come, or a batch has ended.
            _worthLookingAt = _queue.Count + StoreLimits.MaxOperations;
            return null;
        }

        _inFlight.Add(batch);
        _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return batch;
    }

    private async Task SendAsync(Batch batch)
    {
        await CommitAsync(batch.Writes);
        lock (_gate)
        {
            _inFlight.Remove(batch);
            _worthLookingAt = StoreLimits.MaxOperations;
        }

        SendBatches();
    }

    /// <summary>Ends each write of the batch with its outcome; throws nothing, since every failure belongs to these writes.</summary>
    private async Task CommitAsync(List<PendingWrite> batch)
    {
        var started = time?.GetTimestamp() ?? 0;
        try
        {
            if (batch is [var single])
            {
                var alone = await store.TransactAsync(
                    new StoreTransaction(single.Write.Compares, single.Write.Operations), CancellationToken.None);
                Measure(batch, started);
                single.Outcome.TrySetResult(new WriteResult(alone.Succeeded, alone.Revision));
                return;
            }

            var result = await store.TransactAsync(new StoreTransaction([], [.. batch.Select(write => write.AsNested())]), CancellationToken.None);
            Measure(batch, started);
            for (var index = 0; index < batch.Count; index++)
            {
                batch[index].Outcome.TrySetResult(new WriteResult(result.Nested[index].Succeeded, result.Revision));
            }
        }
#pragma warning disable CA1031 // Whatever it is, the writers get it; nobody else waits here.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            ServerInstruments.CommitFailed();
            foreach (var write in batch)
            {
                write.Outcome.TrySetException(exception);
            }
        }
    }

    private void Measure(List<PendingWrite> batch, long started) =>
        ServerInstruments.Committed(batch.Count, time?.GetElapsedTime(started) ?? TimeSpan.Zero);

    private Batch? TakeBatch(bool onlyFull)
    {
        var batch = new Batch([], new TouchedKeys());
        var passedOver = new TouchedKeys();
        var passed = 0;
        var cost = 0;
        long bytes = 0;
        var full = false;
        for (var node = _queue.First; node is not null && passed <= Limits.Store.PassedOverWrites; node = node.Next)
        {
            var write = node.Value;
            if (batch.Keys.ConflictsWith(write.Write) || passedOver.ConflictsWith(write.Write) || IsInFlight(write.Write))
            {
                passedOver.Add(write.Write);
                passed++;
                continue;
            }

            // etcd counts the nested transactions and, for each of them, its own level on top.
            cost = Math.Max(cost, write.Cost);
            bytes += write.Bytes;
            full = batch.Writes.Count > 0
                && (batch.Writes.Count + 1 + cost > StoreLimits.MaxOperations || bytes > StoreLimits.MaxTransactionBytes);
            if (full)
            {
                break;
            }

            batch.Keys.Add(write.Write);
            batch.Writes.Add(write);
        }

        if (batch.Writes.Count == 0 || (onlyFull && !full))
        {
            return null;
        }

        batch.Writes.ForEach(Dequeue);
        return batch;
    }

    private bool IsInFlight(StoreWrite write)
    {
        foreach (var batch in _inFlight)
        {
            if (batch.Keys.ConflictsWith(write))
            {
                return true;
            }
        }

        return false;
    }

    private void Dequeue(PendingWrite write)
    {
        _queue.Remove(write.Place);
        _queuedBytes -= write.Bytes;
    }

    private sealed record Batch(List<PendingWrite> Writes, TouchedKeys Keys);

    private sealed class PendingWrite
    {
        private PendingWrite(StoreWrite write, int cost, long bytes)
        {
            (Write, Cost, Bytes) = (write, cost, bytes);
            Place = new LinkedListNode<PendingWrite>(this);
        }

        public StoreWrite Write { get; }

        public int Cost { get; }

        /// <summary>As a nested transaction, with its framing.</summary>
        public long Bytes { get; }

        public LinkedListNode<PendingWrite> Place { get; set; }

        public TaskCompletionSource<WriteResult> Outcome { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public static PendingWrite Of(StoreWrite write)
        {
            if (write.Operations.Any(operation => operation is StoreOperation.Nested))
            {
                throw new ArgumentException("A write has puts and deletes only; nesting is the batch's.", nameof(write));
            }

            var transaction = new StoreTransaction(write.Compares, write.Operations);
            TransactionRules.Check(transaction);
            return new PendingWrite(
                write,
                TransactionRules.OperationCost(write.Compares, write.Operations, []),
                TransactionRules.Bytes([new StoreOperation.Nested(transaction)]));
        }

        public StoreOperation.Nested AsNested() => new(new StoreTransaction(Write.Compares, Write.Operations));
    }

    private readonly struct TouchedKeys()
    {
        private readonly HashSet<string> _written = new(StringComparer.Ordinal);
        private readonly HashSet<string> _compared = new(StringComparer.Ordinal);

        public bool ConflictsWith(StoreWrite write)
        {
            foreach (var compare in write.Compares)
            {
                if (_written.Contains(compare.Key))
                {
                    return true;
                }
            }

            foreach (var operation in write.Operations)
            {
                var key = WrittenKey(operation);
                if (_written.Contains(key) || _compared.Contains(key))
                {
                    return true;
                }
            }

            return false;
        }

        public void Add(StoreWrite write)
        {
            foreach (var compare in write.Compares)
            {
                _compared.Add(compare.Key);
            }

            foreach (var operation in write.Operations)
            {
                _written.Add(WrittenKey(operation));
            }
        }

        private static string WrittenKey(StoreOperation operation) => operation is StoreOperation.Put put ? put.Key : ((StoreOperation.Delete)operation).Key;
    }
}
