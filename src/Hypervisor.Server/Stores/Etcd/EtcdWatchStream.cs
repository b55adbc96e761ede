using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>The stream broke or was ended; another one can go on where it stood.</summary>
internal sealed class WatchBrokenException(EtcdFailure failure) : Exception(failure.Message, failure.Cause)
{
    public EtcdFailure Failure => failure;
}

/// <summary>
/// One watch at one member. Events are read when they are asked for: a reader that is slow holds etcd back and not our memory.
/// </summary>
internal sealed class EtcdWatchStream : IAsyncDisposable
{
    private readonly EtcdCalls _calls;
    private readonly EtcdEndpoint _endpoint;
    private readonly AsyncDuplexStreamingCall<WatchRequest, WatchResponse> _call;
    private readonly CancellationTokenSource _ending;
    private readonly RevisionAssembler _assembler;
    private readonly TimeProvider _time;
    private Task<bool>? _reading;

    private EtcdWatchStream(
        EtcdCalls calls,
        EtcdEndpoint endpoint,
        AsyncDuplexStreamingCall<WatchRequest, WatchResponse> call,
        CancellationTokenSource ending,
        long fromRevision,
        TimeProvider time)
    {
        (_calls, _endpoint, _call, _ending, _time) = (calls, endpoint, call, ending, time);
        _assembler = new RevisionAssembler(fromRevision - 1);
    }

    /// <summary>All changes of [start, end) from the revision on; an empty <paramref name="end"/> means the one key.</summary>
    /// <exception cref="StoreUnavailableException">No stream could be opened.</exception>
    /// <exception cref="WatchBrokenException">The member did not take the watch.</exception>
    public static async Task<EtcdWatchStream> OpenAsync(
        EtcdCalls calls, string start, string end, long fromRevision, TimeProvider time, CancellationToken cancellationToken)
    {
        var ending = new CancellationTokenSource();
        EtcdWatchStream? stream = null;
        try
        {
            var (endpoint, call) = await calls.OpenAsync(
                (connection, options) => connection.WatchClient.Watch(options), ending.Token, cancellationToken);
            stream = new EtcdWatchStream(calls, endpoint, call, ending, fromRevision, time);
            await stream.CreateAsync(
                new WatchCreateRequest
                {
                    Key = ByteString.CopyFromUtf8(start),
                    RangeEnd = ByteString.CopyFromUtf8(end),
                    StartRevision = fromRevision,
                    Fragment = true,
                },
                cancellationToken);
            return stream;
        }
        catch
        {
            if (stream is null)
            {
                ending.Dispose();
            }
            else
            {
                await stream.DisposeAsync();
            }

            throw;
        }
    }

    /// <summary>The next whole revisions; null if nothing came within the time.</summary>
    /// <exception cref="RevisionCompactedException">etcd no longer holds what comes next.</exception>
    /// <exception cref="WatchBrokenException">The stream ended.</exception>
    public async Task<IReadOnlyList<ChangeBatch>?> NextAsync(TimeSpan patience, CancellationToken cancellationToken)
    {
        if (await ReadAsync(patience, cancellationToken) is not { } response)
        {
            return null;
        }

        ThrowIfCancelled(response);
        return _assembler.Take(response.Events, response.Fragment);
    }

    /// <summary>Nothing comes any more: the stream is dead, and the next one goes to another member.</summary>
    public EtcdFailure Abandon() => _calls.Broken(_endpoint, new TimeoutException("The watch was silent."));

    public async ValueTask DisposeAsync()
    {
        await _ending.CancelAsync();
        if (_reading is not null)
        {
            await ((Task)_reading).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }

        _call.Dispose();
        _ending.Dispose();
    }

    private async Task CreateAsync(WatchCreateRequest create, CancellationToken cancellationToken)
    {
        try
        {
            await _call.RequestStream.WriteAsync(new WatchRequest { CreateRequest = create }, cancellationToken)
                .WaitAsync(Limits.Etcd.AttemptDeadline, _time, cancellationToken);
        }
        catch (Exception exception) when ((EtcdCalls.IsFailure(exception) || exception is TimeoutException or InvalidOperationException)
            && !cancellationToken.IsCancellationRequested)
        {
            throw new WatchBrokenException(_calls.Broken(_endpoint, exception));
        }

        if (await ReadAsync(Limits.Etcd.AttemptDeadline, cancellationToken) is not { } created)
        {
            throw new WatchBrokenException(Abandon());
        }

        ThrowIfCancelled(created);
    }

    private async Task<WatchResponse?> ReadAsync(TimeSpan patience, CancellationToken cancellationToken)
    {
        try
        {
            _reading ??= _call.ResponseStream.MoveNext(_ending.Token);
            var more = await _reading.WaitAsync(patience, _time, cancellationToken);
            _reading = null;
            return more ? _call.ResponseStream.Current : throw new IOException("The member ended the watch.");
        }
        catch (TimeoutException)
        {
            return null;
        }
        catch (Exception exception) when (EtcdCalls.IsFailure(exception) && !cancellationToken.IsCancellationRequested)
        {
            throw new WatchBrokenException(_calls.Broken(_endpoint, exception));
        }
    }

    private void ThrowIfCancelled(WatchResponse response)
    {
        if (response.CompactRevision > 0)
        {
            throw new RevisionCompactedException(response.CompactRevision);
        }

        if (response.Canceled)
        {
            // The reason is a gRPC status in words; etcd has no code for it here.
            var status = new Status(StatusCode.Unknown, response.CancelReason);
            throw new WatchBrokenException(_calls.Broken(_endpoint, new RpcException(status)));
        }
    }
}
