using Etcdserverpb;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// A lease that is renewed three times in its duration. It is over when our own clock says so, which is before etcd's says so,
/// whether or not etcd can be reached.
/// </summary>
/// <remarks>
/// As with the embedded store's, renewals run on the synchronization context of the campaign, the expiry does not: a server
/// that stands still loses its lease.
/// </remarks>
internal sealed partial class EtcdLeadership : ILeadership
{
    private readonly EtcdCalls _calls;
    private readonly TimeProvider _time;
    private readonly long _lease;
    private readonly TimeSpan _duration;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _lost = new();
    private readonly Lock _gate = new();
    private readonly ITimer _renewal;
    private readonly ITimer _expiry;
    private long _renewedAt;
    private bool _renewing;
    private Task? _ended;

    public EtcdLeadership(EtcdCalls calls, TimeProvider time, long lease, Compare guard, TimeSpan duration, long grantedAt, ILogger logger)
    {
        (_calls, _time, _lease, Guard, _duration, _renewedAt, _logger) = (calls, time, lease, guard, duration, grantedAt, logger);
        Lost = _lost.Token;
        var context = SynchronizationContext.Current;
        var left = duration - time.GetElapsedTime(grantedAt);
        _expiry = time.CreateTimer(_ => ExpireIfDue(), null, left > TimeSpan.Zero ? left : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        _renewal = time.CreateTimer(
            _ =>
            {
                if (context is null)
                {
                    _ = RenewAsync();
                }
                else
                {
                    context.Post(_ => _ = RenewAsync(), null);
                }
            },
            null,
            duration / 3,
            duration / 3);
    }

    public Compare Guard { get; }

    public CancellationToken Lost { get; }

    /// <summary>When the lease was last renewed, as a timestamp of the lease's clock.</summary>
    internal long RenewedAt => Interlocked.Read(ref _renewedAt);

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

    public async ValueTask DisposeAsync() => await EndAsync();

    private async Task RenewAsync()
    {
        lock (_gate)
        {
            if (_ended is not null || _renewing || _time.GetElapsedTime(_renewedAt) >= _duration)
            {
                return;
            }

            _renewing = true;
        }

        try
        {
            var asked = _time.GetTimestamp();
            var kept = await KeepAliveAsync();
            if (!kept)
            {
                LogLost(_logger, Guard.Key);
                _ = EndAsync();
                return;
            }

            lock (_gate)
            {
                var left = _duration - _time.GetElapsedTime(asked);
                if (_ended is null && left > TimeSpan.Zero && _time.GetElapsedTime(_renewedAt) < _duration)
                {
                    Interlocked.Exchange(ref _renewedAt, asked);
                    _expiry.Change(left, Timeout.InfiniteTimeSpan);
                }
            }
        }
        catch (Exception exception) when (exception is StoreUnavailableException or ObjectDisposedException)
        {
            LogNotRenewed(_logger, Guard.Key, exception.Message);
        }
        finally
        {
            lock (_gate)
            {
                _renewing = false;
            }
        }
    }

    /// <summary>False when etcd has no such lease, or the key is no longer ours.</summary>
    private async Task<bool> KeepAliveAsync()
    {
        try
        {
            var left = await _calls.ExchangeAsync(
                async (endpoint, options) =>
                {
                    using var call = endpoint.Connection.LeaseClient.LeaseKeepAlive(options);
                    await call.RequestStream.WriteAsync(new LeaseKeepAliveRequest { ID = _lease }, options.CancellationToken);
                    if (!await call.ResponseStream.MoveNext(options.CancellationToken))
                    {
                        throw new IOException("The member ended the call.");
                    }

                    return call.ResponseStream.Current.TTL;
                },
                _duration / 2,
                CancellationToken.None);
            if (left <= 0)
            {
                return false;
            }

            var request = new TxnRequest { Compare = { EtcdTranslation.ToCompare(Guard) } };
            var guard = await _calls.ReadAsync(
                (connection, options) => connection.KVClient.TxnAsync(request, options), CancellationToken.None);
            return guard.Succeeded;
        }
        catch (EtcdRefusedException exception) when (exception.Kind == EtcdFailureKind.LeaseGone)
        {
            return false;
        }
    }

    private void ExpireIfDue()
    {
        lock (_gate)
        {
            if (_ended is not null || _time.GetElapsedTime(_renewedAt) < _duration)
            {
                return;
            }
        }

        LogLost(_logger, Guard.Key);
        _ = EndAsync();
    }

    private Task EndAsync()
    {
        TaskCompletionSource ended;
        lock (_gate)
        {
            if (_ended is not null)
            {
                return _ended;
            }

            ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _ended = ended.Task;
        }

        return ResignAsync(ended);
    }

    private async Task ResignAsync(TaskCompletionSource ended)
    {
        _renewal.Dispose();
        _expiry.Dispose();
        try
        {
            // Who led knows before a successor can lead. Not CancelAsync, which leaves for the thread pool.
            _lost.Cancel();
            await RevokeAsync(_calls, _lease, _logger);
        }
        finally
        {
            ended.SetResult();
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The lease behind {Key} could not be renewed; trying again: {Reason}")]
    private static partial void LogNotRenewed(ILogger logger, string key, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The lease behind {Key} ran out, or the key was taken")]
    private static partial void LogLost(ILogger logger, string key);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Lease {Lease} could not be revoked and runs out by itself: {Reason}")]
    private static partial void LogNotRevoked(ILogger logger, long lease, string reason);
}
