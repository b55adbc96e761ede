using Grpc.Core;

namespace Hypervisor.Bench.Fleets;

/// <summary>Simulated agents of one server: their connections, the wheel they wait on, and what happens to them.</summary>
internal sealed class SimulatedFleet : IAsyncDisposable
{
    /// <summary>Registrations under way: each is a write that the next one compares with, so more only lose races.</summary>
    private const int RegisteringAtOnce = 4;

    private readonly CancellationTokenSource _stop = new();
    private readonly List<FleetConnection> _connections = [];
    private readonly List<SimulatedAgent> _agents = [];
    private readonly FleetScript _script;
    private readonly Dictionary<string, int> _positions = new(StringComparer.Ordinal);
    private List<Task> _running = [];
    private string _lastFailure = "";

    public SimulatedFleet(Uri server, FleetScript script, IReadOnlyList<SimulatedNode> nodes, TimeProvider time, FleetTasks tasks = FleetTasks.All)
    {
        (_script, Time, Wheel, Tasks) = (script, time, new(time), tasks);
        foreach (var part in nodes.Chunk(FleetConnection.MaxNodes))
        {
            var connection = new FleetConnection(server);
            _connections.Add(connection);
            foreach (var node in part)
            {
                _positions.Add(node.Name, _agents.Count);
                _agents.Add(new(node, connection, this));
            }
        }
    }

    public TimeProvider Time { get; }

    public TimerWheel Wheel { get; }

    public FleetTasks Tasks { get; private set; }

    public FleetCounters Counters { get; } = new();

    public IReadOnlyList<SimulatedAgent> Agents => _agents;

    /// <summary>Taken by whoever registers.</summary>
    public SemaphoreSlim Registering { get; } = new(RegisteringAtOnce);

    /// <summary>What ended the last life that nobody meant to end; empty when none did.</summary>
    public string LastFailure => _lastFailure;

    /// <summary>Starts every agent and returns once all are registered; events begin then.</summary>
    /// <exception cref="TimeoutException">They were not within the time.</exception>
    public async Task StartAsync(TimeSpan within)
    {
        _running = [Wheel.RunAsync(_stop.Token), .. _agents.Select(agent => agent.RunAsync(_stop.Token))];
        var started = Time.GetTimestamp();
        while (_agents.Any(agent => !agent.IsRegistered))
        {
            if (Time.GetElapsedTime(started) > within)
            {
                var missing = _agents.Count(agent => !agent.IsRegistered);
                throw new TimeoutException($"{missing} of {_agents.Count} simulated nodes are not registered within {within.TotalSeconds:0} s. {_lastFailure}".TrimEnd());
            }

            await Task.WhenAny([Task.Delay(TimeSpan.FromMilliseconds(20), Time, _stop.Token), .. _running.Where(task => task.IsFaulted)]);
            ThrowIfFailed();
        }

        var nodes = _agents.ConvertAll(agent => agent.Node);
        foreach (var each in _script.Events)
        {
            var meant = each.Select(nodes, _script.Seed);
            Wheel.After(each.At, () => Behave(meant, each.Conduct));
            if (each.For is { } lasts)
            {
                Wheel.After(each.At + lasts, () => Behave(meant, Conduct.Normal));
            }
        }
    }

    /// <summary>Every agent reports all that it holds as running, and from now on what it is assigned.</summary>
    public void ReportAll()
    {
        Tasks |= FleetTasks.Report;
        foreach (var agent in _agents)
        {
            agent.Held.ReportAll();
            agent.News.Set();
        }
    }

    /// <summary>Something that should never end has.</summary>
    public void ThrowIfFailed()
    {
        if (_running.FirstOrDefault(task => task.IsFaulted) is { Exception: { } failure })
        {
            throw new InvalidOperationException("The simulation itself failed.", failure);
        }
    }

    /// <summary>Evenly over the interval, so that no two nodes of a small fleet beat at once.</summary>
    public TimeSpan FirstBeat(SimulatedNode node, TimeSpan interval) => interval * _positions[node.Name] / _agents.Count;

    public void Failed(SimulatedNode node, Exception failure)
    {
        Counters.Break();
        _lastFailure = $"{node.Name}: {(failure is RpcException { Status.Detail: { Length: > 0 } detail } ? detail : failure.Message)}";
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        Task all = Task.WhenAll(_running);
        await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _connections.ForEach(connection => connection.Dispose());
        Registering.Dispose();
        _stop.Dispose();
    }

    private void Behave(IReadOnlyList<SimulatedNode> nodes, Conduct conduct)
    {
        foreach (var node in nodes)
        {
            _agents[_positions[node.Name]].Behave(conduct);
        }
    }
}

/// <summary>What agents do besides registering.</summary>
[Flags]
internal enum FleetTasks
{
    Beat = 1,

    /// <summary>Take what they are assigned.</summary>
    Take = 2,

    /// <summary>Tell what became of it.</summary>
    Report = 4,

    All = Beat | Take | Report,
}
