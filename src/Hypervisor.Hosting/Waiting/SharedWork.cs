namespace Hypervisor.Hosting.Waiting;

/// <summary>Does the same work once for all who ask for it meanwhile; it is cancelled when the last of them has gone.</summary>
internal sealed class SharedWork<TKey>
    where TKey : notnull
{
    private readonly Lock _lock = new();
    private readonly Dictionary<TKey, Run> _runs = [];

    public async Task RunAsync(TKey key, Func<CancellationToken, Task> work, CancellationToken cancellationToken)
    {
        Run run;
        lock (_lock)
        {
            if (!_runs.TryGetValue(key, out run!))
            {
                run = new Run();
                _runs.Add(key, run);
            }

            run.Waiters++;
            // Started under the lock, by the first: nobody can see a run without its task.
            run.Task ??= CompleteAsync(key, run, work);
        }

        try
        {
            await run.Task.WaitAsync(cancellationToken);
        }
        finally
        {
            lock (_lock)
            {
                if (--run.Waiters == 0)
                {
                    // Whoever comes now begins anew rather than join what is being cancelled.
                    Forget(key, run);
                    run.Abandoned.Cancel();
                }
            }
        }
    }

    private async Task CompleteAsync(TKey key, Run run, Func<CancellationToken, Task> work)
    {
        // The caller holds the lock: the work itself must begin outside it.
        await Task.Yield();
        try
        {
            await work(run.Abandoned.Token);
        }
        finally
        {
            lock (_lock)
            {
                Forget(key, run);
            }
        }
    }

    private void Forget(TKey key, Run run)
    {
        if (_runs.TryGetValue(key, out var current) && ReferenceEquals(current, run))
        {
            _runs.Remove(key);
        }
    }

    private sealed class Run
    {
        public int Waiters { get; set; }

        public Task? Task { get; set; }

        // Without a timer or wait handle there is nothing to dispose of.
        public CancellationTokenSource Abandoned { get; } = new();
    }
}
