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
        Post(_ => _ = FollowAsync(Begin(work), answer), null);
        return answer.Task;
    }

    // What throws before its first wait fails like everything after it.
    private static async Task<T> Begin<T>(Func<Task<T>> work) => await work();

    public Task RunAsync(Func<Task> work) => RunAsync(async () =>
    {
        await work();
        return true;
    });

    /// <summary>Like Task.WaitAsync, which leaves the thread when it is cancelled.</summary>
    /// <exception cref="TimeoutException">The deadline passed on this process's clock.</exception>
    public async Task<T> WithinAsync<T>(Task<T> work, TimeSpan deadline, CancellationToken cancellationToken)
    {
        var outcome = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var timer = Clock.CreateTimer(_ => outcome.TrySetException(new TimeoutException()), null, deadline, Timeout.InfiniteTimeSpan);
        await using var registration = cancellationToken.UnsafeRegister(_ => outcome.TrySetCanceled(cancellationToken), null);
        _ = FollowAsync(work, outcome);
        return await outcome.Task;
    }

    public override string ToString() => Name;

    private static async Task FollowAsync<T>(Task<T> work, TaskCompletionSource<T> outcome)
    {
        try
        {
            outcome.TrySetResult(await work);
        }
        catch (OperationCanceledException exception)
        {
            outcome.TrySetCanceled(exception.CancellationToken);
        }
        catch (Exception exception)
        {
            outcome.TrySetException(exception);
        }
    }
}
