using System.Diagnostics.CodeAnalysis;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Cluster;

/// <summary>One direction of a connection: items in order, then an end. A channel would complete its waits on other threads.</summary>
internal sealed class SimulatedPipe<T>(int capacity)
{
    private readonly Queue<T> _items = new();
    private TaskCompletionSource<bool> _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Exception? _failure;
    private bool _ended;

    public bool IsFull => _items.Count >= capacity;

    /// <summary>Everything was read and nothing comes any more.</summary>
    /// <exception cref="Exception">It ended with this failure.</exception>
    public bool IsComplete => _ended && _items.Count == 0 && (_failure is null ? true : throw _failure);

    public void Write(T item)
    {
        if (!_ended)
        {
            _items.Enqueue(item);
            Signal();
        }
    }

    public void Complete(Exception? failure)
    {
        (_ended, _failure) = (true, _ended ? _failure : failure);
        Signal();
    }

    public bool TryRead([MaybeNullWhen(false)] out T item) => _items.TryDequeue(out item);

    /// <summary>False when nothing happened for so long.</summary>
    public async Task<bool> ChangedAsync(SimulatedProcess reader, TimeSpan limit, CancellationToken cancellationToken)
    {
        if (_items.Count > 0 || _ended)
        {
            return true;
        }

        try
        {
            return await reader.WithinAsync(_changed.Task, limit, cancellationToken);
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Signal()
    {
        var changed = _changed;
        _changed = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.TrySetResult(true);
    }
}
