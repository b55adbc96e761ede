namespace Hypervisor.Server.Stores;

/// <summary>
/// A revisioned key-value log with etcd's semantics. Keys are UTF-8 text in ordinal order. One transaction makes one
/// revision, and a revision names the whole set of its changes: nothing ever shows a part of one.
/// </summary>
/// <remarks>
/// Implementations pass one contract test suite. All methods may be called concurrently. A cancelled
/// <see cref="TransactAsync"/> may still take effect. After <see cref="StoreUnavailableException"/> the outcome of a
/// transaction is unknown; the caller reads before it repeats.
/// </remarks>
internal interface IClusterStore : IAsyncDisposable
{
    /// <summary>"sqlite", "etcd" or "memory".</summary>
    string Kind { get; }

    /// <summary>The current revision, linearizable: at least that of every transaction acknowledged before the call.</summary>
    ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken);

    /// <summary>Keys in [start, end) in order, all as of one revision.</summary>
    /// <exception cref="RevisionCompactedException">The asked-for revision is no longer held.</exception>
    ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken);

    /// <summary>
    /// Evaluates all compares, also the nested ones, against the state before the transaction, then applies the branches
    /// as one revision, durably, before it returns. A transaction that changes nothing makes no revision.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// More than <see cref="StoreLimits.MaxOperations"/> operations, a value over the limit, or a key written twice.
    /// </exception>
    ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken);

    /// <summary>
    /// Every change of keys with the prefix from <paramref name="fromRevision"/> on (inclusive), one batch per revision, in
    /// order, without gap or duplicate; and now and then an empty batch, which says that everything up to its revision was
    /// delivered. Revisions without a matching change are not delivered except in that form. Ends only by cancellation or
    /// exception.
    /// </summary>
    /// <exception cref="RevisionCompactedException">Changes between fromRevision and now are no longer held.</exception>
    /// <exception cref="StoreUnavailableException">The watch broke; begin again after the last batch's revision.</exception>
    IAsyncEnumerable<ChangeBatch> WatchAsync(string prefix, long fromRevision, CancellationToken cancellationToken);

    /// <summary>Forgets superseded values and deletions before <paramref name="revision"/>; it stays readable.</summary>
    ValueTask CompactAsync(long revision, CancellationToken cancellationToken);

    /// <summary>
    /// Waits until the candidate leads the election, then keeps its lease of <paramref name="leaseDuration"/> (at least 2 s)
    /// alive until disposed. The leader key is <c>leaders/{election}</c>, its value the candidate.
    /// </summary>
    Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken);
}

/// <summary>A held leadership. Disposing resigns.</summary>
internal interface ILeadership : IAsyncDisposable
{
    /// <summary>Holds exactly while this leadership does: every write made as leader carries it.</summary>
    Compare Guard { get; }

    /// <summary>Cancelled when the lease ran out or was taken.</summary>
    CancellationToken Lost { get; }
}

/// <summary>A key with its value and where it stands in the log.</summary>
/// <param name="Version">1 for the first value since the key was created.</param>
internal readonly record struct KeyValue(string Key, ReadOnlyMemory<byte> Value, long CreateRevision, long ModRevision, long Version);

/// <summary>Keys in [Start, End).</summary>
/// <param name="Revision">As of this revision; 0 means now.</param>
/// <param name="Limit">At most so many keys; 0 means all.</param>
internal readonly record struct RangeQuery(string Start, string End, long Revision = 0, int Limit = 0)
{
    /// <summary>All keys with the prefix.</summary>
    public static RangeQuery Prefix(string prefix, long revision = 0, int limit = 0) => new(prefix, PrefixEnd(prefix), revision, limit);

    /// <summary>One key.</summary>
    public static RangeQuery Single(string key, long revision = 0) => new(key, key + "\0", revision);

    /// <summary>The first key after all keys with the prefix. The empty prefix is every key.</summary>
    public static string PrefixEnd(string prefix) => prefix.Length == 0 ? "\uffff" : prefix[..^1] + (char)(prefix[^1] + 1);
}

/// <summary>Answer to a range, all of it as of <paramref name="Revision"/>.</summary>
/// <param name="More">The limit cut the answer.</param>
internal sealed record RangeResult(IReadOnlyList<KeyValue> Items, long Revision, bool More);

/// <summary>If all compares hold then one branch, else the other.</summary>
internal sealed record StoreTransaction(
    IReadOnlyList<Compare> Compares,
    IReadOnlyList<StoreOperation> Then,
    IReadOnlyList<StoreOperation> Else)
{
    public StoreTransaction(IReadOnlyList<Compare> compares, IReadOnlyList<StoreOperation> then)
        : this(compares, then, [])
    {
    }
}

/// <summary>A condition on one key.</summary>
internal readonly record struct Compare
{
    private Compare(string key, CompareTarget target, long revision, ReadOnlyMemory<byte> value)
    {
        (Key, Target, Revision, Value) = (key, target, revision, value);
    }

    public string Key { get; }

    public CompareTarget Target { get; }

    public long Revision { get; }

    public ReadOnlyMemory<byte> Value { get; }

    public static Compare Absent(string key) => new(key, CompareTarget.CreateRevision, 0, default);

    public static Compare Created(string key, long createRevision) => new(key, CompareTarget.CreateRevision, createRevision, default);

    public static Compare Modified(string key, long modRevision) => new(key, CompareTarget.ModRevision, modRevision, default);

    public static Compare ValueEquals(string key, ReadOnlyMemory<byte> value) => new(key, CompareTarget.Value, 0, value);
}

/// <summary>What is compared for equality. An absent key has both revisions 0 and no value (equal to none).</summary>
internal enum CompareTarget
{
    CreateRevision,
    ModRevision,
    Value,
}

/// <summary>One step of a transaction.</summary>
internal abstract record StoreOperation
{
    private StoreOperation()
    {
    }

    internal sealed record Put(string Key, ReadOnlyMemory<byte> Value) : StoreOperation;

    /// <summary>Deleting an absent key changes nothing.</summary>
    internal sealed record Delete(string Key) : StoreOperation;

    internal sealed record Nested(StoreTransaction Transaction) : StoreOperation;
}

/// <summary>What became of a transaction.</summary>
/// <param name="Succeeded">The compares held.</param>
/// <param name="Revision">The store's revision after it.</param>
/// <param name="Nested">One per nested transaction of the executed branch, in order.</param>
internal sealed record TransactionResult(bool Succeeded, long Revision, IReadOnlyList<TransactionResult> Nested);

/// <summary>All changes of one revision that a watch asked for.</summary>
internal sealed record ChangeBatch(long Revision, IReadOnlyList<StoreChange> Changes);

/// <summary>One key's change.</summary>
/// <param name="Current">The new value; for a deletion only Key and ModRevision are set.</param>
internal readonly record struct StoreChange(KeyValue Current, bool Deleted);

/// <summary>The revision that was asked for is older than what the store holds: read anew from <see cref="OldestRevision"/> or later.</summary>
internal sealed class RevisionCompactedException(long oldestRevision)
    : Exception($"Revision is compacted; the oldest readable one is {oldestRevision}.")
{
    public long OldestRevision { get; } = oldestRevision;
}

/// <summary>The store could not be reached or could not make a write durable; the message says what to look at.</summary>
/// <param name="refused">Nothing happened, and nothing will until somebody does what the message says.</param>
internal sealed class StoreUnavailableException(string message, Exception? inner = null, bool refused = false) : Exception(message, inner)
{
    public bool Refused { get; } = refused;
}

/// <summary>Bounds shared by all stores; etcd's defaults, since what one store takes the other must take.</summary>
internal static class StoreLimits
{
    /// <summary>etcd's --max-txn-ops.</summary>
    public const int MaxOperations = 128;

    /// <summary>etcd's --max-request-bytes.</summary>
    public const int MaxTransactionBytes = 1536 * 1024;

    public const int MaxKeyBytes = 1024;

    /// <summary>etcd 3.4 grants no shorter lease with its default election timeout of 1 s.</summary>
    public static readonly TimeSpan MinLeaseDuration = TimeSpan.FromSeconds(2);
}
