using System.Runtime.CompilerServices;
using Grpc.Core;
using Hypervisor.Ctl.Connection;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

/// <summary>
/// A watch that outlives its streams: present state first (ADDED events closed by a bookmark), then changes, resuming where
/// a broken stream stopped. After a RESYNC it begins again with the present state. Some changes may be seen twice after a
/// reconnection; an object's resource_version tells.
/// </summary>
internal sealed class ObjectWatch<TMessage, TObject>(
    ServerConnection connection,
    TimeProvider time,
    IRandomSource random,
    Func<long, CallOptions, AsyncServerStreamingCall<TMessage>> open,
    Func<TMessage, WatchChange<TObject>> read)
    where TMessage : class
    where TObject : class
{
    public async IAsyncEnumerable<WatchChange<TObject>> RunAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // Several changes share a version and a stream can break between them: only an older version, or a bookmark, is complete.
        long resumeFrom = 0;
        long newest = 0;
        var attempt = 0;
        var lastContact = time.GetTimestamp();
        while (true)
        {
            using var call = open(resumeFrom, new CallOptions(cancellationToken: cancellationToken));
            RpcException? broken = null;
            var resync = false;
            while (true)
            {
                WatchChange<TObject> change;
                try
                {
                    if (!await call.ResponseStream.MoveNext(cancellationToken))
                    {
                        break;
                    }

                    change = read(call.ResponseStream.Current);
                }
                catch (RpcException exception) when (ServerConnection.IsAway(exception))
                {
                    broken = exception;
                    break;
                }

                attempt = 0;
                lastContact = time.GetTimestamp();
                if (change.Type == WatchEventType.Resync)
                {
                    resync = true;
                    resumeFrom = 0;
                    newest = 0;
                }
                else if (change.Type == WatchEventType.Bookmark)
                {
                    resumeFrom = newest = change.ResourceVersion;
                }
                else if (resumeFrom > 0 && change.ResourceVersion > newest)
                {
                    resumeFrom = newest;
                    newest = change.ResourceVersion;
                }

                yield return change;
                if (resync)
                {
                    break;
                }
            }

            if (resync)
            {
                continue;
            }

            // A server that was never reached is reported at once; one that went away gets time to come back.
            var pause = Backoff.DelayAfter(++attempt, Limits.FirstBackoff, Limits.LongestBackoff, random.NextUnit());
            var neverReached = broken is not null && newest == 0 && attempt == 1;
            if (neverReached || time.GetElapsedTime(lastContact) + pause > Limits.WatchReconnectWindow)
            {
                throw connection.Unreachable(broken ?? new RpcException(new Status(StatusCode.Unavailable, "the watch ended")));
            }

            await Task.Delay(pause, time, cancellationToken);
        }
    }
}
