using System.Runtime.CompilerServices;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// A watch that outlives its streams: one that breaks or falls silent is replaced, at another member, from where it stood.
/// </summary>
/// <remarks>
/// It watches every key and picks those with the prefix itself, so that every revision, also one that does not concern the
/// prefix, is known to have been delivered. etcd's own progress notifications are not used: until 3.4.25 they could overtake
/// events (etcd issue 15220).
/// A silent stream may be idle or dead, and only etcd knows. So after a time of silence the marker key is written: what the
/// write's revision brings back through this stream proves that it lives. On a busy store no marker is ever written.
/// </remarks>
internal sealed partial class EtcdWatch(EtcdCalls calls, Func<CancellationToken, Task<long>> writeMarker, TimeProvider time, ILogger logger)
{
    public async IAsyncEnumerable<ChangeBatch> ReadAsync(
        string prefix, long fromRevision, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var delivered = fromRevision - 1;
        var failures = 0;
        while (true)
        {
            var (stream, failure) = await OpenAsync(delivered + 1, cancellationToken);
            if (stream is not null)
            {
                await using (stream)
                {
                    while (true)
                    {
                        (var batches, failure) = await NextAsync(stream, delivered, cancellationToken);
                        if (batches is null)
                        {
                            break;
                        }

                        foreach (var batch in batches)
                        {
                            cancellationToken.ThrowIfCancellationRequested();
                            yield return Matching(batch, prefix);
                            delivered = batch.Revision;
                            failures = 0;
                        }
                    }
                }
            }

            LogReplaced(logger, delivered, failure!.Message);
            if (++failures > Limits.Etcd.WatchFailures || failure.Kind == EtcdFailureKind.Refused)
            {
                throw failure.ToUnavailable();
            }

            await Task.Delay(Limits.Etcd.RetryPause, time, cancellationToken);
        }
    }

    private static ChangeBatch Matching(ChangeBatch batch, string prefix)
    {
        var matching = batch.Matching(prefix) ?? new ChangeBatch(batch.Revision, []);
        return matching.Changes.Any(IsMarker)
            ? matching with { Changes = [.. matching.Changes.Where(change => !IsMarker(change))] }
            : matching;
    }

    private static bool IsMarker(StoreChange change) => change.Current.Key == Keys.WatchMarker;

    private async Task<(EtcdWatchStream? Stream, EtcdFailure? Failure)> OpenAsync(long fromRevision, CancellationToken cancellationToken)
    {
        try
        {
            return (await EtcdWatchStream.OpenAsync(calls, "\0", "\0", fromRevision, time, cancellationToken), null);
        }
        catch (WatchBrokenException exception)
        {
            return (null, exception.Failure);
        }
        catch (StoreUnavailableException exception)
        {
            return (null, new EtcdFailure(EtcdFailureKind.Unreached, exception.Message, exception));
        }
    }

    /// <summary>The next revisions, or why the stream has to be replaced.</summary>
    private async Task<(IReadOnlyList<ChangeBatch>? Batches, EtcdFailure? Failure)> NextAsync(
        EtcdWatchStream stream, long delivered, CancellationToken cancellationToken)
    {
        try
        {
            if (await stream.NextAsync(Limits.Etcd.WatchQuiet, cancellationToken) is { } batches)
            {
                return (batches, null);
            }

            var marker = await writeMarker(cancellationToken);
            if (marker <= delivered)
            {
                // The watch waits for a revision that is still to come: the marker cannot come back through it.
                return ([], null);
            }

            var asked = time.GetTimestamp();
            while (time.GetElapsedTime(asked) is var waited && waited < Limits.Etcd.MarkerDeadline)
            {
                if (await stream.NextAsync(Limits.Etcd.MarkerDeadline - waited, cancellationToken) is { } late)
                {
                    // Whatever comes is proof enough; a revision's fragments are no batch yet.
                    return (late, null);
                }
            }

            return (null, stream.Abandon());
        }
        catch (WatchBrokenException exception)
        {
            return (null, exception.Failure);
        }
        catch (StoreUnavailableException exception)
        {
            // Also when etcd takes no writes (NOSPACE): a new stream that opens is as good a proof.
            return (null, new EtcdFailure(EtcdFailureKind.Unknown, exception.Message, exception));
        }
    }

    [LoggerMessage(
        Level = LogLevel.Information, Message = "The watch of etcd goes on after revision {Revision} with a new stream: {Reason}")]
    private static partial void LogReplaced(ILogger logger, long revision, string reason);
}
