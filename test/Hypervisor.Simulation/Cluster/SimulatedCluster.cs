using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Cluster;

/// <summary>One server, three agents, their machines, a store and a network; every part can be killed, paused and cut off.</summary>
internal sealed class SimulatedCluster
{
    public const int Machines = 3;

    private static readonly ServerConfiguration Configuration = new()
    {
        Heartbeat = new HeartbeatConfiguration { Interval = TimeSpan.FromSeconds(1), Timeout = TimeSpan.FromSeconds(5) },
    };

    private readonly Dictionary<string, SimulatedAgent> _agents = new(StringComparer.Ordinal);
    private readonly Sabotage _sabotage;
    private readonly IClusterStore _store;
    private int _starts;

    public SimulatedCluster(SimulationLoop loop, Sabotage sabotage)
    {
        Loop = loop;
        _sabotage = sabotage;
        Network = new SimulatedNetwork(loop);
        Disk = new MemoryStore(loop.Outside.Clock);
        _store = new StoreOutside(Disk, loop);
        Hosts = [.. Enumerable.Range(1, Machines).Select(number => new SimulatedHost($"n{number}", loop.Outside.Clock))];
    }

    public SimulationLoop Loop { get; }

    public SimulatedNetwork Network { get; }

    /// <summary>What is durable.</summary>
    public MemoryStore Disk { get; }

    public IReadOnlyList<SimulatedHost> Hosts { get; }

    public SimulatedServer? Server { get; private set; }

    /// <summary>Why a process ended by itself; nothing of the product may.</summary>
    public Exception? Crash
    {
        get => field ?? Server?.Bug;
        private set;
    }

    public void StartServer()
    {
        Crash ??= Server?.Bug;
        var process = new SimulatedProcess(Loop, $"server-{++_starts}");
        Server = new SimulatedServer(process, _store, Loop.Random, Configuration);
        Watch(Server.RunAsync());
    }

    public void StartAgent(SimulatedHost host)
    {
        var process = new SimulatedProcess(Loop, $"{host.Name}-{++_starts}");
        var agent = new SimulatedAgent(
            process, host, (from, node) => new SimulatedControlPlane(Network, from, host.Name, node, () => Server), Loop.Random,
            driver => _sabotage.Driver(driver));
        _agents[host.Name] = agent;
        Watch(agent.RunAsync());
    }

    /// <summary>The epoch of an instance's placement, as it is on disk; 0 without one.</summary>
    public long PlacedEpoch(string uid)
    {
        var found = Disk.RangeAsync(RangeQuery.Single(Keys.Placement(new InstanceId(uid))), CancellationToken.None).AsTask();
        return found.IsCompletedSuccessfully && found.Result.Items is [var item]
            ? PlacementRecord.Parser.ParseFrom(item.Value.Span).Placement.Epoch
            : 0;
    }

    public SimulatedProcess AgentOf(SimulatedHost host) => _agents[host.Name].Process;

    private async void Watch(Task running)
    {
        try
        {
            await running;
            Crash ??= new InvalidOperationException("A process ended although nobody asked it to.");
        }
        catch (Exception exception)
        {
            Crash ??= exception;
        }
    }
}

/// <summary>Bugs to plant, so that the checks prove that they see them. The default plants none.</summary>
internal sealed record Sabotage
{
    public Func<IInstanceDriver, IInstanceDriver> Driver { get; init; } = driver => driver;

    /// <summary>Whether the client's watch delivers an event.</summary>
    public Func<WatchInstancesResponse, bool> DeliverWatchEvent { get; init; } = _ => true;

    /// <summary>What becomes of the request id on its way.</summary>
    public Func<string, string> RequestId { get; init; } = id => id;

    /// <summary>Whether a machine that is given up is off.</summary>
    public bool Fences { get; init; } = true;

    /// <summary>Called with each acknowledged create.</summary>
    public Func<SimulatedCluster, ObjectMeta, Task> AfterCreate { get; init; } = (_, _) => Task.CompletedTask;
}
