using System.Runtime.CompilerServices;
using Hypervisor.Server.Stores;

namespace Hypervisor.Tests.Server.State;

/// <summary>A store whose watches, writes and revisions can be made to fail.</summary>
internal sealed class FaultyStore(IClusterStore inner) : IClusterStore
{
    private readonly TaskCompletionSource _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _break = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Exception? FailWrites { get; set; }

    public Exception? FailRevision { get; set; }

    /// <summary>Answers to questions for the revision wait until this ends.</summary>
    public Task RevisionsHeld { get; set; } = Task.CompletedTask;

    public int RevisionsAsked { get; private set; }

    /// <summary>Applies the write, then loses the answer.</summary>
    public bool LoseAnswers { get; set; }

    /// <summary>Writes that have arrived stay unapplied until this ends.</summary>
    public Task WritesHeld { get; set; } = Task.CompletedTask;

    /// <summary>Changes stay undelivered until this ends.</summary>
    public Task WatchesHeld { get; set; } = Task.CompletedTask;

    /// <summary>Ends once a write has arrived.</summary>
    public Task WriteArrived => _arrived.Task;

    public string Kind => inner.Kind;

    public void BreakWatches(Exception exception)
    {
        var broken = _break;
        _break = new(TaskCreationOptions.RunContinuationsAsynchronously);
        broken.SetException(exception);
    }

    public async ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken)
    {
        RevisionsAsked++;
        if (FailRevision is { } failure)
        {
            throw failure;
        }

        var revision = await inner.GetRevisionAsync(cancellationToken);
        await RevisionsHeld;
        return revision;
    }

    public ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken) =>
        inner.RangeAsync(query, cancellationToken);

    public async ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
    {
        if (FailWrites is { } failure)
        {
            throw failure;
        }

        _arrived.TrySetResult();
        await WritesHeld;
        var result = await inner.TransactAsync(transaction, cancellationToken);
        return LoseAnswers ? throw new StoreUnavailableException("The answer was lost.") : result;
    }

    public async IAsyncEnumerable<ChangeBatch> WatchAsync(
        string prefix, long fromRevision, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var broken = _break.Task;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using var batches = inner.WatchAsync(prefix, fromRevision, stop.Token).GetAsyncEnumerator(stop.Token);
        while (true)
        {
            var next = batches.MoveNextAsync().AsTask();
            if (await Task.WhenAny(next, broken) == broken)
            {
                await stop.CancelAsync();
                await Task.WhenAny(next);
                await broken;
            }

            await next;
            await WatchesHeld.WaitAsync(cancellationToken);
            yield return batches.Current;
        }
    }

    public ValueTask CompactAsync(long revision, CancellationToken cancellationToken) => inner.CompactAsync(revision, cancellationToken);

    public Task<ILeadership> CampaignAsync(
        string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
        inner.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
