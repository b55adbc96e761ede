namespace Hypervisor.Agent.Waiting;

/// <summary>
/// At most so many at once, first come first served. Unlike <see cref="SemaphoreSlim"/>, whose cancellable wait continues on
/// the thread pool, it stays in the caller's synchronization context.
/// </summary>
internal sealed class AdmissionGate(int places)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<TaskCompletionSource> _waiting = new();
    private int _free = places;

    /// <summary>Returns once there is a place; <see cref="Leave"/> gives it back.</summary>
    public async Task EnterAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        LinkedListNode<TaskCompletionSource> node;
        lock (_gate)
        {
            if (_free > 0)
            {
                _free--;
                return;
            }

            node = _waiting.AddLast(new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        using var registration = cancellationToken.Register(() => Abandon(node, cancellationToken));
        await node.Value.Task;
    }

    public void Leave()
    {
        lock (_gate)
        {
            if (_waiting.First is { } next)
            {
                _waiting.RemoveFirst();
                next.Value.TrySetResult();
                return;
            }

            _free++;
        }
    }

    private void Abandon(LinkedListNode<TaskCompletionSource> node, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            // Not in the list any more: it was admitted first, and its owner leaves as usual.
            if (node.List is not null)
            {
                _waiting.Remove(node);
                node.Value.TrySetCanceled(cancellationToken);
            }
        }
    }
}
