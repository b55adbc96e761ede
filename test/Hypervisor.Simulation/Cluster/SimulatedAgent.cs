using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Node;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.Simulation.Engine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hypervisor.Simulation.Cluster;

/// <summary>One run of the real agent, from start to kill, on a machine that outlives it.</summary>
internal sealed class SimulatedAgent
{
    private static readonly string[] Slow = ["CreateAsync", "StartAsync", "StopAsync", "RemoveAsync", "AttachAsync", "DetachAsync", "EnsureAsync"];

    private readonly ServiceProvider _services;

    public SimulatedAgent(
        SimulatedProcess process, SimulatedHost host, Func<SimulatedProcess, NodeState, IControlPlane> connect, SeededRandom random,
        Func<IInstanceDriver, IInstanceDriver> sabotage)
    {
        Process = process;
        var configuration = new AgentConfiguration { Hostname = host.Name, DataDirectory = "/nonexistent", RunDirectory = "/nonexistent" };
        var faults = host.FaultsFor(process);
        foreach (var method in Slow)
        {
            faults.Delay(method, random.Between(TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(60)));
        }

        var services = new ServiceCollection();
        services.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance);
        services.AddSingleton(typeof(ILogger<>), typeof(NullLogger<>));
        services.AddSingleton(process.Clock);
        services.AddSingleton<IRandomSource>(random);
        services.AddNode(configuration, "simulation");
        services.AddInstances();

        // Registered after the real ones, which touch the machine that the test runs on.
        services.AddSingleton<INodeIdentityStore>(host.Identity);
        services.AddSingleton<IHostFacts>(host);
        services.AddSingleton<ILeaseClock>(new TimeProviderLeaseClock(process.Clock));
        services.AddSingleton(provider => connect(process, provider.GetRequiredService<NodeState>()));
        services.AddSingleton(sabotage(new FakeDriver(host.Machine, faults)));
        services.AddSingleton<INodeNetwork>(new FakeNetwork(host.Machine, faults));
        services.AddSingleton<IImageProvider>(new FakeImages(faults));
        services.AddSingleton<IHealthProbe>(new FakeHealth());
        _services = services.BuildServiceProvider();
    }

    public SimulatedProcess Process { get; }

    /// <summary>Ends with an exception only by a bug.</summary>
    public Task RunAsync() => Process.RunAsync(() => _services.GetRequiredService<NodeAgent>().RunAsync(CancellationToken.None));
}

/// <summary>A machine: what stays when its agent is killed.</summary>
internal sealed class SimulatedHost(string name, TimeProvider time) : IHostFacts
{
    private static readonly string[] Runtime = ["ProbeAsync", "ListAsync", "GetAsync", "CreateAsync", "StartAsync", "StopAsync", "RemoveAsync", "WatchAsync"];

    private FakeFaults? _faults;
    private int _boots = 1;

    public string Name => name;

    public FakeMachine Machine { get; } = new(time);

    public IdentityInMemory Identity { get; } = new();

    /// <summary>The runtime answers nothing.</summary>
    public bool IsMute
    {
        get;
        set
        {
            field = value;
            Apply();
        }
    }

    public HostFacts Read() => new(
        new Resources { CpuMillicores = 16_000, MemoryBytes = 32L << 30, DiskBytes = 100L << 30 }, "simulated", "0", "amd64", $"boot-{_boots}-of-{name}");

    /// <summary>What the agent's runtime, network and images do wrong; each run has its own, on its own clock.</summary>
    public FakeFaults FaultsFor(SimulatedProcess agent)
    {
        _faults = new FakeFaults(agent.Clock);
        Apply();
        return _faults;
    }

    public void PowerCycle()
    {
        _boots++;
        Machine.Reboot();
    }

    private void Apply()
    {
        foreach (var method in Runtime)
        {
            _faults?.Heal(method);
            if (IsMute)
            {
                _faults?.FailAlways(method, new DriverException("Unavailable", "The runtime does not answer.", permanent: false));
            }
        }
    }

    internal sealed class IdentityInMemory : INodeIdentityStore
    {
        private NodeIdentity _identity = new();

        public NodeIdentity Load() => _identity;

        public void Save(NodeIdentity identity) => _identity = identity;
    }
}
