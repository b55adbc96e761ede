namespace Hypervisor.Simulation.Engine;

/// <summary>
/// A process: everything awaited in it comes back to it. Killed, nothing of it ever runs again, wherever it stood; paused, it
/// stands still while the clock goes on, and wakes late.
/// </summary>
internal sealed class SimulatedProcess : SynchronizationContext
{
    private readonly SimulationLoop _loop;

    public SimulatedProcess(SimulationLoop loop, string name)
    {
        _loop = loop;
        Name = name;
        Number = loop.NextProcessNumber();
        Clock = new SimulatedClock(loop, this);
    }

    public string Name { get; }

    public int Number { get; }

    /// <summary>The process's own view of the simulation's time.</summary>
    public TimeProvider Clock { get; }

    public bool IsDead { get; private set; }

    public bool IsPaused { get; private set; }

    /// <summary>SIGKILL.</summary>
    public void Kill() => IsDead = true;

    /// <summary>SIGSTOP.</summary>
    public void Pause() => IsPaused = true;

    /// <summary>SIGCONT.</summary>
    public void Resume() => IsPaused = false;

    public override void Post(SendOrPostCallback d, object? state)
    {
        if (!IsDead)
        {
            _loop.Enqueue(new SimulationLoop.WorkItem(this, d, state));
        }
    }

    public override void Send(SendOrPostCallback d, object? state) =>
        throw new NotSupportedException("Nothing may wait synchronously in the simulation.");

    public override SynchronizationContext CreateCopy() => this;

    /// <summary>
    /// Runs work in this process and answers in the caller's. If the process is killed the task never ends: use deadlines.
    /// </summary>
    public Task<T> RunAsync<T>(Func<Task<T>> work)
    {
        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(async void (_) =>
        {
            try
            {
                answer.TrySetResult(await work());
            }
            catch (OperationCanceledException exception)
            {
                answer.TrySetCanceled(exception.CancellationToken);
            }
            catch (Exception exception)
            {
                answer.TrySetException(exception);
            }
        }, null);
        return answer.Task;
    }

    public Task RunAsync(Func<Task> work) => RunAsync(async () =>
    {
        await work();
        return true;
    });

    public override string ToString() => Name;
}
