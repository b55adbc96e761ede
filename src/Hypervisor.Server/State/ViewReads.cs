using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.State;

/// <summary>Views as fresh as a caller asks for.</summary>
internal sealed class ViewReads(ClusterState state, IClusterStore store, TimeProvider time)
{
    private readonly Lock _lock = new();
    private Task<long>? _running;
    private Task<long>? _next;

    /// <summary>
    /// A view that includes every write acknowledged before the call, or, for <see cref="Consistency.Stale"/>, the present one.
    /// </summary>
    /// <exception cref="ViewBehindException">There is no such view within <see cref="Limits.State.ReadDeadline"/>.</exception>
    /// <exception cref="StoreUnavailableException"/>
    public ValueTask<ClusterView> ViewAsync(Consistency consistency, CancellationToken cancellationToken)
    {
        if (consistency == Consistency.Stale)
        {
            return state.Loaded ? ValueTask.FromResult(state.View) : throw new ViewBehindException(0, 0);
        }

        return CurrentAsync(cancellationToken);
    }

    /// <summary>The age to report with an answer from the present view.</summary>
    public TimeSpan Age => state.Age;

    /// <summary>A view that includes the revision of a write.</summary>
    /// <exception cref="ViewBehindException">The write was made, but the view did not reach it in time.</exception>
    public async ValueTask<ClusterView> IncludingAsync(long revision, CancellationToken cancellationToken)
    {
        if (state.View is { Revision: > 0 } view && view.Revision >= revision)
        {
            return view;
        }

        using var deadline = new CancellationTokenSource(Limits.State.ReadDeadline, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await state.WaitForRevisionAsync(Math.Max(revision, 1), linked.Token);
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new ViewBehindException(state.Revision, revision);
        }
    }

    private async ValueTask<ClusterView> CurrentAsync(CancellationToken cancellationToken)
    {
        var asked = time.GetTimestamp();
        var view = await IncludingAsync(await RevisionAsync(cancellationToken), cancellationToken);
        state.Confirm(asked);
        return view;
    }

    // A call that began before ours may not include a write acknowledged since: callers share the next one, not the running one.
    private Task<long> RevisionAsync(CancellationToken cancellationToken)
    {
        Task<long> shared;
        lock (_lock)
        {
            if (_running is null or { IsCompleted: true })
            {
                shared = _running = AskAsync();
                _next = null;
            }
            else
            {
                shared = _next ??= FollowAsync(_running);
            }
        }

        return Shared.WaitAsync(shared, cancellationToken);
    }

    private async Task<long> FollowAsync(Task<long> running)
    {
        await ((Task)running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        Task<long> asked;
        lock (_lock)
        {
            asked = _running = AskAsync();
            _next = null;
        }

        return await asked;
    }

    private async Task<long> AskAsync()
    {
        using var deadline = new CancellationTokenSource(Limits.State.ReadDeadline, time);
        try
        {
            return await store.GetRevisionAsync(deadline.Token);
        }
        catch (OperationCanceledException exception) when (deadline.IsCancellationRequested)
        {
            throw new StoreUnavailableException(
                $"The store did not answer within {Limits.State.ReadDeadline.TotalSeconds} s; look at its health.", exception);
        }
    }
}

/// <summary>This replica's view has not reached what the caller may rely on.</summary>
internal sealed class ViewBehindException(long revision, long wanted) : Exception(
    revision == 0
        ? "This server has not read the store yet; try again in a moment."
        : $"This server's view is at revision {revision} and did not reach {wanted} within {Limits.State.ReadDeadline.TotalSeconds} s; try again or ask another server.");
