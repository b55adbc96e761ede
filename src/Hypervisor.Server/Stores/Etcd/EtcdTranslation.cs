using Etcdserverpb;
using Google.Protobuf;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>Our transactions in etcd's words, and its answers in ours.</summary>
internal static class EtcdTranslation
{
    public static TxnRequest ToRequest(StoreTransaction transaction)
    {
        var request = new TxnRequest();
        foreach (var compare in transaction.Compares)
        {
            request.Compare.Add(ToCompare(compare));
        }

        foreach (var operation in transaction.Then)
        {
            request.Success.Add(ToOperation(operation));
        }

        foreach (var operation in transaction.Else)
        {
            request.Failure.Add(ToOperation(operation));
        }

        return request;
    }

    /// <param name="revision">Of the whole: nested answers have headers of their own, which etcd leaves empty.</param>
    public static TransactionResult ToResult(StoreTransaction transaction, TxnResponse response, long revision)
    {
        var branch = response.Succeeded ? transaction.Then : transaction.Else;
        List<TransactionResult>? nested = null;
        for (var index = 0; index < branch.Count; index++)
        {
            if (branch[index] is StoreOperation.Nested inner)
            {
                (nested ??= []).Add(ToResult(inner.Transaction, response.Responses[index].ResponseTxn, revision));
            }
        }

        return new TransactionResult(response.Succeeded, revision, nested ?? (IReadOnlyList<TransactionResult>)[]);
    }

    public static KeyValue ToKeyValue(Mvccpb.KeyValue item) =>
        new(item.Key.ToStringUtf8(), item.Value.Memory, item.CreateRevision, item.ModRevision, item.Version);

    public static Etcdserverpb.Compare ToCompare(Compare compare)
    {
        var result = new Etcdserverpb.Compare
        {
            Key = ByteString.CopyFromUtf8(compare.Key),
            Result = Etcdserverpb.Compare.Types.CompareResult.Equal,
        };
        switch (compare.Target)
        {
            case CompareTarget.CreateRevision:
                result.Target = Etcdserverpb.Compare.Types.CompareTarget.Create;
                result.CreateRevision = compare.Revision;
                break;
            case CompareTarget.ModRevision:
                result.Target = Etcdserverpb.Compare.Types.CompareTarget.Mod;
                result.ModRevision = compare.Revision;
                break;
            case CompareTarget.Value:
                result.Target = Etcdserverpb.Compare.Types.CompareTarget.Value;
                result.Value = ByteString.CopyFrom(compare.Value.Span);
                break;
            default:
                throw new ArgumentException($"Unknown compare target {compare.Target}.", nameof(compare));
        }

        return result;
    }

    /// <remarks>Values are wrapped, not copied: nobody writes to those of an operation.</remarks>
    private static RequestOp ToOperation(StoreOperation operation) => operation switch
    {
        StoreOperation.Put put => new RequestOp
        {
            RequestPut = new PutRequest { Key = ByteString.CopyFromUtf8(put.Key), Value = UnsafeByteOperations.UnsafeWrap(put.Value) },
        },
        StoreOperation.Delete delete => new RequestOp
        {
            RequestDeleteRange = new DeleteRangeRequest { Key = ByteString.CopyFromUtf8(delete.Key) },
        },
        StoreOperation.Nested nested => new RequestOp { RequestTxn = ToRequest(nested.Transaction) },
        _ => throw new ArgumentException($"Unknown operation {operation.GetType().Name}.", nameof(operation)),
    };
}
