using Etcdserverpb;
using Google.Protobuf;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// Leadership by a key that only one candidate can create, bound to a lease that only that candidate keeps alive. Candidates
/// wait for the key to go; a lease is taken only for the attempt, so that those who wait cost etcd nothing.
/// </summary>
/// <param name="time">Of calls.</param>
/// <param name="leaseTime">Of leases.</param>
internal sealed class EtcdElections(EtcdCalls calls, TimeProvider time, TimeProvider leaseTime, ILogger logger)
{
    /// <inheritdoc cref="IClusterStore.CampaignAsync"/>
    public async Task<ILeadership> CampaignAsync(
        string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(leaseDuration, StoreLimits.MinLeaseDuration);
        var key = Keys.Leader(election);
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var request = new RangeRequest { Key = ByteString.CopyFromUtf8(key) };
            var found = await calls.ReadAsync((connection, options) => connection.KVClient.RangeAsync(request, options), cancellationToken);
            if (found.Kvs.Count > 0)
            {
                await WaitForChangeAsync(key, found.Header.Revision + 1, cancellationToken);
            }
            else if (await TryLeadAsync(key, candidate, leaseDuration, cancellationToken) is { } leadership)
            {
                return leadership;
            }
        }
    }

    /// <summary>Or until it is time to look again: a watch that is silent may be dead.</summary>
    private async Task WaitForChangeAsync(string key, long fromRevision, CancellationToken cancellationToken)
    {
        try
        {
            await using var stream = await EtcdWatchStream.OpenAsync(calls, key, "", fromRevision, time, cancellationToken);
            while (await stream.NextAsync(Limits.Etcd.WatchQuiet, cancellationToken) is { Count: 0 })
            {
            }
        }
        catch (RevisionCompactedException)
        {
            // The key may have changed meanwhile; reading it tells.
        }
        catch (WatchBrokenException exception)
        {
            if (exception.Failure.Kind == EtcdFailureKind.Refused)
            {
                throw exception.Failure.ToUnavailable();
            }

            await Task.Delay(Limits.Etcd.RetryPause, time, cancellationToken);
        }
    }

    /// <summary>Null when another candidate was faster.</summary>
    private async Task<EtcdLeadership?> TryLeadAsync(string key, string candidate, TimeSpan duration, CancellationToken cancellationToken)
    {
        // Ours runs from before etcd's begins, so ours ends first.
        var grantedAt = leaseTime.GetTimestamp();
        var grant = new LeaseGrantRequest { TTL = (long)Math.Ceiling(duration.TotalSeconds) };
        var granted = await calls.WriteAsync(
            (connection, options) => connection.LeaseClient.LeaseGrantAsync(grant, options), cancellationToken);
        var lease = granted.ID;
        var leads = false;
        try
        {
            var put = new PutRequest { Key = ByteString.CopyFromUtf8(key), Value = ByteString.CopyFromUtf8(candidate), Lease = lease };
            var request = new TxnRequest
            {
                Compare = { EtcdTranslation.ToCompare(Compare.Absent(key)) },
                Success = { new RequestOp { RequestPut = put } },
            };
            var result = await calls.WriteAsync((connection, options) => connection.KVClient.TxnAsync(request, options), cancellationToken);
            leads = result.Succeeded;
            return leads
                ? new EtcdLeadership(calls, leaseTime, lease, Compare.Created(key, result.Header.Revision), duration, grantedAt, logger)
                : null;
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.LeaseGone)
        {
            return null;
        }
        finally
        {
            if (!leads)
            {
                // Also when the outcome is unknown: with the lease goes the key.
                await EtcdLeadership.RevokeAsync(calls, lease, logger);
            }
        }
    }
}
