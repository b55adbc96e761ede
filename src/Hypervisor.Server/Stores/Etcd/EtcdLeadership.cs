using Etcdserverpb;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>A lease of etcd with the key that goes with it. Our clock ends it before etcd's does.</summary>
internal sealed partial class EtcdLeadership(
    EtcdCalls calls, TimeProvider time, long lease, Compare guard, TimeSpan duration, long grantedAt, ILogger logger)
    : LeasedLeadership(guard, time, duration, grantedAt)
{
    /// <summary>The key goes with the lease. A lease that cannot be revoked now runs out by itself.</summary>
    public static async Task RevokeAsync(EtcdCalls calls, long lease, ILogger logger)
    {
        try
        {
            var request = new LeaseRevokeRequest { ID = lease };
            await calls.ReadAsync(
                (connection, options) => connection.LeaseClient.LeaseRevokeAsync(request, options), CancellationToken.None);
        }
        catch (EtcdRefusedException)
        {
            // Gone already.
        }
        catch (Exception exception) when (exception is StoreUnavailableException or ObjectDisposedException)
        {
            LogNotRevoked(logger, lease, exception.Message);
        }
    }

    protected override async Task<Answer> KeepAsync()
    {
        try
        {
            return await IsKeptAsync() ? Answer.Kept : Answer.Gone;
        }
        catch (Exception exception) when (exception is StoreUnavailableException or ObjectDisposedException)
        {
            LogNotRenewed(logger, Guard.Key, exception.Message);
            return Answer.Unknown;
        }
    }

    protected override Task ReleaseAsync() => RevokeAsync(calls, lease, logger);

    protected override void OnLost() => LogLost(logger, Guard.Key);

    /// <summary>False when etcd has no such lease, or the key is no longer ours.</summary>
    private async Task<bool> IsKeptAsync()
    {
        try
        {
            var left = await calls.ExchangeAsync(
                async (endpoint, options) =>
                {
                    using var call = endpoint.Connection.LeaseClient.LeaseKeepAlive(options);
                    await call.RequestStream.WriteAsync(new LeaseKeepAliveRequest { ID = lease }, options.CancellationToken);
                    if (!await call.ResponseStream.MoveNext(options.CancellationToken))
                    {
                        throw new IOException("The member ended the call.");
                    }

                    return call.ResponseStream.Current.TTL;
                },
                Duration / 2,
                CancellationToken.None);
            if (left <= 0)
            {
                return false;
            }

            var request = new TxnRequest { Compare = { EtcdTranslation.ToCompare(Guard) } };
            var guard = await calls.ReadAsync(
                (connection, options) => connection.KVClient.TxnAsync(request, options), CancellationToken.None);
            return guard.Succeeded;
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.LeaseGone)
        {
            return false;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The lease behind {Key} could not be renewed; trying again: {Reason}")]
    private static partial void LogNotRenewed(ILogger logger, string key, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The lease behind {Key} ran out, or the key was taken")]
    private static partial void LogLost(ILogger logger, string key);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Lease {Lease} could not be revoked and runs out by itself: {Reason}")]
    private static partial void LogNotRevoked(ILogger logger, long lease, string reason);
}
