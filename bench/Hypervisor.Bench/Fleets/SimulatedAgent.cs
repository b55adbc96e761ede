using Grpc.Core;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>
/// One node that only says what an agent would say: it registers, beats, takes assignments and reports them as carried out. It keeps its identity
/// over its deaths, as a machine does.
/// </summary>
internal sealed class SimulatedAgent
{
    /// <summary>On every simulated node, so that they can be told from real ones.</summary>
    public const string Label = "simulated";

    private static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(500);

    private readonly FleetConnection _connection;
    private readonly SimulatedFleet _fleet;
    private readonly Signal _revived = new();
    private readonly Lock _gate = new();
    private readonly Random _random;
    private CancellationTokenSource? _life;
    private volatile bool _registered;
    private string _credential = "";
    private volatile Conduct _conduct;

    public SimulatedAgent(SimulatedNode node, FleetConnection connection, SimulatedFleet fleet)
    {
        (Node, _connection, _fleet) = (node, connection, fleet);
        _random = new(node.Seed);
        Held = new(fleet.Counters);
    }

    public SimulatedNode Node { get; }

    public HeldInstances Held { get; }

    /// <summary>There is something to report, or it may be reported again.</summary>
    public Signal News { get; } = new();

    public Conduct Conduct => _conduct;

    /// <summary>It was, once.</summary>
    public bool IsRegistered => _registered;

    /// <summary>Changes how it behaves, at once.</summary>
    public void Behave(Conduct conduct)
    {
        lock (_gate)
        {
            _conduct = conduct;
            if (conduct == Conduct.Dead)
            {
                _life?.Cancel();
                Held.Lose();
            }
        }

        _revived.Set();
        News.Set();
    }

    /// <summary>Until cancelled: one life after the other.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            while (_conduct == Conduct.Dead)
            {
                await _revived.WaitAsync(cancellationToken);
            }

            using var life = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            lock (_gate)
            {
                _life = _conduct == Conduct.Dead ? null : life;
            }

            if (_life is null)
            {
                continue;
            }

            try
            {
                await LiveAsync(life.Token);
            }
            catch (Exception ended) when (ended is RpcException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                if (!life.IsCancellationRequested)
                {
                    _fleet.Failed(Node, ended);
                }
            }
            finally
            {
                lock (_gate)
                {
                    _life = null;
                }
            }

            if (_conduct != Conduct.Dead)
            {
                await Task.Delay(Retry * (0.5 + Draw(random => random.NextDouble())), _fleet.Time, cancellationToken);
            }
        }
    }

    /// <summary>Something drawn from the node's own randomness, ten times as long for one that is slow.</summary>
    public TimeSpan Draw(Latency latency) => Draw(latency.Draw) * (_conduct == Conduct.Slow ? 10 : 1);

    private T Draw<T>(Func<Random, T> draw)
    {
        lock (_random)
        {
            return draw(_random);
        }
    }

    private async Task LiveAsync(CancellationToken cancellationToken)
    {
        RegisterNodeResponse registered;
        await _fleet.Registering.WaitAsync(cancellationToken);
        try
        {
            registered = await _connection.Nodes.RegisterNodeAsync(Registration(), cancellationToken: cancellationToken);
        }
        finally
        {
            _fleet.Registering.Release();
        }

        _credential = registered.Credential;
        _registered = true;
        await new AgentLife(this, _connection, _fleet, registered).RunAsync(cancellationToken);
    }

    private RegisterNodeRequest Registration() => new()
    {
        Name = Node.Name,
        Credential = _credential,
        // Known to whoever runs a fleet of this name again: it is then the same nodes.
        RegistrationId = $"hypervisor-bench {Node.Name}",
        Labels = { Node.Pool.Labels.ToDictionary(), new Dictionary<string, string> { [Label] = "true" } },
        Inventory = new()
        {
            Hostname = Node.Name,
            AgentAddress = "127.0.0.1:1",
            Role = "worker",
            Region = Node.Pool.Region,
            Zone = Node.Zone,
            Capacity = new() { CpuMillicores = Node.Pool.Cpus * 1000L, MemoryBytes = Node.Pool.MemoryBytes, DiskBytes = Node.Pool.DiskBytes },
            Runtimes = { Node.Pool.Types.Select(type => new RuntimeInfo { Type = type, Driver = "simulated", Version = "1", Available = true }) },
            Accelerator = Accelerator.Kvm,
            AgentVersion = "simulated",
            OperatingSystem = "simulated",
            Architecture = "x86_64",
        },
    };
}
