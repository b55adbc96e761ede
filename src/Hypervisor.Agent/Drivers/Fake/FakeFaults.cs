namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>What goes wrong, and how long everything takes, in a fake driver, network or image store.</summary>
internal sealed class FakeFaults(TimeProvider time)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Queue<Exception>> _failures = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Exception> _always = new(StringComparer.Ordinal);
    private readonly Dictionary<string, TimeSpan> _latencies = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _calls = new(StringComparer.Ordinal);

    /// <summary>The next call of this method fails so; after several of these, each of the next ones in turn.</summary>
    public void FailNext(string method, Exception failure)
    {
        lock (_gate)
        {
            if (!_failures.TryGetValue(method, out var queue))
            {
                _failures.Add(method, queue = new Queue<Exception>());
            }

            queue.Enqueue(failure);
        }
    }

    /// <summary>Every call of this method fails so until <see cref="Heal"/>.</summary>
    public void FailAlways(string method, Exception failure)
    {
        lock (_gate)
        {
            _always[method] = failure;
        }
    }

    public void Heal(string method)
    {
        lock (_gate)
        {
            _always.Remove(method);
            _failures.Remove(method);
        }
    }

    public void Delay(string method, TimeSpan latency)
    {
        lock (_gate)
        {
            _latencies[method] = latency;
        }
    }

    /// <summary>How often a method was called, failed calls included.</summary>
    public int Calls(string method)
    {
        lock (_gate)
        {
            return _calls.GetValueOrDefault(method);
        }
    }

    /// <summary>To be awaited at the begin of each call.</summary>
    public async Task PassAsync(string method, CancellationToken cancellationToken)
    {
        TimeSpan latency;
        Exception? failure;
        lock (_gate)
        {
            _calls[method] = _calls.GetValueOrDefault(method) + 1;
            latency = _latencies.GetValueOrDefault(method);
            failure = _failures.TryGetValue(method, out var queue) && queue.TryDequeue(out var next) ? next : _always.GetValueOrDefault(method);
        }

        cancellationToken.ThrowIfCancellationRequested();
        if (latency > TimeSpan.Zero)
        {
            await Task.Delay(latency, time, cancellationToken);
        }

        if (failure is not null)
        {
            throw failure;
        }
    }
}
