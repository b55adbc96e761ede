using Hypervisor.Protocol;

namespace Hypervisor.Server.State;

/// <summary>A position in the change log. One reader at a time.</summary>
internal sealed class ChangeSubscription : IDisposable
{
    private readonly ChangeLog _log;
    private readonly ITimer _idle;
    private volatile TaskCompletionSource? _waiter;

    internal ChangeSubscription(ChangeLog log, TimeProvider time, long number, long afterRevision, long sequence, long term)
    {
        _log = log;
        (Number, AfterRevision, Sequence, Term) = (number, afterRevision, sequence, term);
        _idle = time.CreateTimer(static state => ((ChangeSubscription)state!).Wake(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    internal long Number { get; }

    internal long AfterRevision { get; }

    internal long Term { get; }

    // What follows is read and changed under the log's lock only.
    internal long Sequence { get; set; }

    /// <summary>The next that it is about.</summary>
    /// <param name="end">Where the log ends.</param>
    internal long Next(long end) => Node is null ? Sequence : Ahead.TryPeek(out var ahead) ? ahead : end;

    internal void Passed(long sequence)
    {
        if (Node is null)
        {
            Sequence = sequence + 1;
        }
        else
        {
            Ahead.Dequeue();
        }
    }

    /// <summary>Null when it is about everything.</summary>
    internal NodeId? Node { get; set; }

    /// <summary>Of one about a node: it waits to be woken.</summary>
    internal bool Waits { get; set; }

    /// <summary>Of one about a node: where the changes are that concern it and that it has not read.</summary>
    internal Queue<long> Ahead { get; } = new();

    /// <summary>
    /// From the next read on only changes that concern this node's agent (<see cref="StateChange.ConcernedNodes"/>); null for every change.
    /// Nothing is lost or repeated by it.
    /// </summary>
    public void Follow(NodeId? node)
    {
        if (Node != node)
        {
            _log.Follow(this, node);
        }
    }

    /// <summary>
    /// The next change, in order of revision, without gap or repetition; or Idle after about <paramref name="idleAfter"/>
    /// without one; or Resync, after which the subscription delivers nothing more: read the view and subscribe after its revision.
    /// </summary>
    public async ValueTask<FeedRead> ReadAsync(TimeSpan idleAfter, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiter = waiter;
        var read = _log.Read(this, wait: true);
        if (read.Kind != FeedReadKind.Idle)
        {
            return read;
        }

        _idle.Change(idleAfter, Timeout.InfiniteTimeSpan);
        using (cancellationToken.UnsafeRegister(static state => ((ChangeSubscription)state!).Wake(), this))
        {
            await waiter.Task;
        }

        _idle.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _log.Forget(this);
        cancellationToken.ThrowIfCancellationRequested();
        return _log.Read(this, wait: false);
    }

    /// <summary>As <see cref="ReadAsync"/> without waiting: Idle when there is nothing now.</summary>
    public FeedRead Read() => _log.Read(this, wait: false);

    public void Dispose()
    {
        _idle.Dispose();
        Follow(null);
        _log.Forget(this);
    }

    internal void Wake() => _waiter?.TrySetResult();
}

/// <summary>What a subscription had to say.</summary>
internal enum FeedReadKind
{
    Change,
    Idle,
    Resync,
}

/// <param name="Change">Set for Change only.</param>
/// <param name="Revision">Everything up to here was delivered; for Resync the view's revision or an earlier one.</param>
internal readonly record struct FeedRead(FeedReadKind Kind, StateChange? Change, long Revision);
