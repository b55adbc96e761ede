namespace Hypervisor.Simulation.Engine;

/// <summary>
/// Runs any number of simulated processes on the calling thread under one clock and one seed: the same seed is the same run.
/// The clock stands still while anything can run, then jumps to the next timer.
/// </summary>
internal sealed class SimulationLoop
{
    private readonly List<WorkItem> _ready = [];
    private readonly PriorityQueue<SimulatedTimer, (long Due, long Order)> _timers = new();
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private volatile string? _escape;
    private long _order;
    private int _processes;

    public SimulationLoop(ulong seed)
    {
        Seed = seed;
        Random = new SeededRandom(seed);
        Outside = new SimulatedProcess(this, "outside");
    }

    public ulong Seed { get; }

    public SeededRandom Random { get; }

    /// <summary>Elapsed simulated time in ticks.</summary>
    public long Now { get; private set; }

    /// <summary>What is no process under test: clients, the network, the disk, the test itself. Never killed.</summary>
    public SimulatedProcess Outside { get; }

    /// <summary>Grows with each step by what was run and when; equal for equal runs.</summary>
    public ulong Fingerprint { get; private set; } = 14695981039346656037;

    public long Steps { get; private set; }

    /// <summary>Runs until the scenario is over.</summary>
    /// <exception cref="SimulationException">The scenario failed, hung, or work left the simulation's thread.</exception>
    public void Run(Func<Task> scenario, TimeSpan limit)
    {
        var previous = SynchronizationContext.Current;
        try
        {
            Task? running = null;
            Outside.Post(_ => running = scenario(), null);
            do
            {
                var stepped = Step();
                if (_escape is { } stack)
                {
                    throw new SimulationException(this, "work came from another thread: something left the simulation (Task.Run, "
                        + $"ConfigureAwait(false), CancelAsync, a clock or timer of its own):\n{stack}");
                }

                if (!stepped)
                {
                    throw new SimulationException(this, "nothing is left to run and the scenario has not ended; or work left the thread");
                }

                if (Now > limit.Ticks)
                {
                    throw new SimulationException(this, $"the scenario did not end within {limit}");
                }
            }
            while (running is not { IsCompleted: true });

            running.GetAwaiter().GetResult();
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(previous);
        }
    }

    internal int NextProcessNumber() => ++_processes;

    internal void Enqueue(WorkItem item)
    {
        if (Environment.CurrentManagedThreadId != _thread)
        {
            // Thrown here it would end the test run, not the simulation: the loop reports it at its next step.
            _escape ??= Environment.StackTrace;
            return;
        }

        _ready.Add(item);
    }

    internal void Enqueue(SimulatedTimer timer, long due) => _timers.Enqueue(timer, (due, ++_order));

    private bool Step()
    {
        var index = NextReady();
        if (index < 0)
        {
            // Timers of paused processes wait for them; a process that never resumes must not hold up the clock.
            if (!_timers.TryDequeue(out var timer, out var priority))
            {
                return false;
            }

            Now = Math.Max(Now, priority.Due);
            timer.Due(priority.Due);
            return true;
        }

        var item = _ready[index];
        _ready.RemoveAt(index);
        Steps++;
        Fingerprint = (Fingerprint ^ (ulong)Now ^ ((ulong)item.Process.Number << 48)) * 1099511628211;
        SynchronizationContext.SetSynchronizationContext(item.Process);
        item.Callback(item.State);
        return true;
    }

    // Any that may run, by the seed: real threads promise no order either.
    private int NextReady()
    {
        _ready.RemoveAll(item => item.Process.IsDead);
        var runnable = _ready.Count(item => !item.Process.IsPaused);
        if (runnable == 0)
        {
            return -1;
        }

        var skip = Random.Next(runnable);
        for (var index = 0; ; index++)
        {
            if (!_ready[index].Process.IsPaused && skip-- == 0)
            {
                return index;
            }
        }
    }

    internal readonly record struct WorkItem(SimulatedProcess Process, SendOrPostCallback Callback, object? State);
}

/// <summary>A run went wrong; the message carries the seed that repeats it.</summary>
internal sealed class SimulationException(SimulationLoop loop, string message)
    : Exception($"seed {loop.Seed}, after {TimeSpan.FromTicks(loop.Now)} and {loop.Steps} steps: {message}");
