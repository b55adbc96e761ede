using System.Text;

namespace Hypervisor.Server.Stores;

/// <summary>What every store refuses before it looks at its state, so that what one takes all take.</summary>
internal static class TransactionRules
{
    /// <summary>
    /// At least what the protobuf framing of one compare or operation costs in an etcd request (at most 27 bytes of tags,
    /// lengths and numbers).
    /// </summary>
    private const int FramingBytes = 32;

    /// <exception cref="ArgumentException">As <see cref="IClusterStore.TransactAsync"/> states.</exception>
    public static void Check(StoreTransaction transaction)
    {
        CheckOperations(transaction, StoreLimits.MaxOperations);
        var bytes = Bytes(transaction);
        if (bytes > StoreLimits.MaxTransactionBytes)
        {
            throw new ArgumentException(
                $"The transaction has {bytes} bytes, the limit is {StoreLimits.MaxTransactionBytes}: store less at once.", nameof(transaction));
        }

        CheckWrittenOnce(transaction);
    }

    /// <summary>
    /// As etcd counts (checkTxnRequest in its v3rpc/key.go): a level costs the largest of its three lists, and what a
    /// level leaves of the limit is the limit of each transaction nested in it.
    /// </summary>
    public static int OperationCost(IReadOnlyList<Compare> compares, IReadOnlyList<StoreOperation> then, IReadOnlyList<StoreOperation> otherwise) =>
        Math.Max(compares.Count, Math.Max(then.Count, otherwise.Count));

    /// <summary>At least the size of the transaction as an etcd request.</summary>
    public static long Bytes(StoreTransaction transaction) =>
        Bytes(transaction.Compares) + Bytes(transaction.Then) + Bytes(transaction.Else);

    public static long Bytes(IReadOnlyList<Compare> compares)
    {
        long bytes = 0;
        foreach (var compare in compares)
        {
            bytes += FramingBytes + Encoding.UTF8.GetByteCount(compare.Key) + compare.Value.Length;
        }

        return bytes;
    }

    public static long Bytes(IReadOnlyList<StoreOperation> operations)
    {
        long bytes = 0;
        foreach (var operation in operations)
        {
            bytes += FramingBytes + operation switch
            {
                StoreOperation.Put put => Encoding.UTF8.GetByteCount(put.Key) + put.Value.Length,
                StoreOperation.Delete delete => Encoding.UTF8.GetByteCount(delete.Key),
                StoreOperation.Nested nested => Bytes(nested.Transaction),
                _ => throw new ArgumentException($"Unknown operation {operation.GetType().Name}.", nameof(operations)),
            };
        }

        return bytes;
    }

    private static void CheckOperations(StoreTransaction transaction, int limit)
    {
        var cost = OperationCost(transaction.Compares, transaction.Then, transaction.Else);
        if (cost > limit)
        {
            throw new ArgumentException(
                $"The transaction has {cost} compares or operations on one level where {limit} of {StoreLimits.MaxOperations} are left: split it.",
                nameof(transaction));
        }

        foreach (var compare in transaction.Compares)
        {
            CheckKey(compare.Key);
        }

        CheckBranch(transaction.Then, limit - cost);
        CheckBranch(transaction.Else, limit - cost);
    }

    private static void CheckBranch(IReadOnlyList<StoreOperation> branch, int limit)
    {
        foreach (var operation in branch)
        {
            switch (operation)
            {
                case StoreOperation.Put put:
                    CheckKey(put.Key);
                    break;
                case StoreOperation.Delete delete:
                    CheckKey(delete.Key);
                    break;
                case StoreOperation.Nested nested:
                    CheckOperations(nested.Transaction, limit);
                    break;
            }
        }
    }

    /// <summary>
    /// Keys end below the surrogates: there UTF-16 order, UTF-8 order and <see cref="RangeQuery.PrefixEnd"/> agree.
    /// NUL is <see cref="RangeQuery.Single"/>'s.
    /// </summary>
    private static void CheckKey(string key)
    {
        if (key.Length == 0 || Encoding.UTF8.GetByteCount(key) > StoreLimits.MaxKeyBytes)
        {
            throw new ArgumentException(
                $"A key has 1 to {StoreLimits.MaxKeyBytes} bytes, this one has {Encoding.UTF8.GetByteCount(key)}: {key[..Math.Min(key.Length, 64)]}");
        }

        if (key.AsSpan().ContainsAnyExceptInRange('\u0001', '\ud7fe'))
        {
            throw new ArgumentException($"A key has only characters from U+0001 to U+D7FE: {key}");
        }
    }

    private static void CheckWrittenOnce(StoreTransaction transaction)
    {
        if (transaction.Else.Count == 0 && transaction.Then.Count == 0)
        {
            return;
        }

        WrittenKeys(transaction.Then);
        WrittenKeys(transaction.Else);
    }

    /// <summary>Only one branch of a nested transaction runs, so its two branches may name the same key.</summary>
    private static HashSet<string> WrittenKeys(IReadOnlyList<StoreOperation> branch)
    {
        var written = new HashSet<string>(branch.Count, StringComparer.Ordinal);
        foreach (var operation in branch)
        {
            switch (operation)
            {
                case StoreOperation.Put put:
                    AddOnce(put.Key);
                    break;
                case StoreOperation.Delete delete:
                    AddOnce(delete.Key);
                    break;
                case StoreOperation.Nested { Transaction: { Else.Count: 0, Then: [StoreOperation.Put put] } }:
                    AddOnce(put.Key);
                    break;
                case StoreOperation.Nested nested:
                    var keys = WrittenKeys(nested.Transaction.Then);
                    keys.UnionWith(WrittenKeys(nested.Transaction.Else));
                    foreach (var key in keys)
                    {
                        AddOnce(key);
                    }

                    break;
            }
        }

        return written;

        void AddOnce(string key)
        {
            if (!written.Add(key))
            {
                throw new ArgumentException($"The transaction writes the key {key} twice.");
            }
        }
    }
}
