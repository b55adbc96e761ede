using System.Diagnostics.CodeAnalysis;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Node;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent;

/// <summary>A whole agent over a fake machine and a scripted control plane, on this one thread under a clock that only the test moves.</summary>
[SuppressMessage("Design", "CA1001", Justification = "Disposed by Dispose.")]
internal sealed class AgentWorld : IDisposable
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(10);

    private readonly SynchronizationContext? _before = SynchronizationContext.Current;
    private readonly OneThread _thread = new();
    private CancellationTokenSource? _running;
    private Task? _agent;

    public AgentWorld()
    {
        SynchronizationContext.SetSynchronizationContext(_thread);
        Machine = new FakeMachine(Time);
        (Driver, Network, Images, VmDriver) = (new FakeFaults(Time), new FakeFaults(Time), new FakeFaults(Time), new FakeFaults(Time));
        ControlPlane = new ScriptedControlPlane(Time);
    }

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public FakeMachine Machine { get; }

    public FakeFaults Driver { get; }

    public FakeFaults Network { get; }

    public FakeFaults Images { get; }

    /// <summary>A second runtime, of VMs, when the test wants one: with a machine of its own.</summary>
    public FakeMachine? Vms { get; private set; }

    public FakeFaults VmDriver { get; private set; }

    public FakeHealth Health { get; } = new();

    public FakeIdentityStore Identity { get; } = new();

    public ScriptedControlPlane ControlPlane { get; }

    public NodeState? Node { get; private set; }

    public Heartbeats? Heartbeats { get; private set; }

    /// <summary>The kernel reports a change of the node's network.</summary>
    public Action HintNetwork { get; private set; } = () => { };

    /// <summary>Effects on the machine as "what uid", in order.</summary>
    public List<string> Effects { get; } = [];

    /// <summary>A uid with the name, of at most 16 ASCII characters, in it.</summary>
    public static InstanceId Id(string name)
    {
        var bytes = new byte[16];
        Encoding.ASCII.GetBytes(name, bytes);
        return new InstanceId(new Guid(bytes, bigEndian: true).ToString("D"));
    }

    /// <summary>Back from <see cref="Id"/>.</summary>
    public static string NameOf(string uid) => Encoding.ASCII.GetString(Guid.ParseExact(uid, "D").ToByteArray(bigEndian: true)).TrimEnd('\0');

    public static Assignment Assignment(string uid, long epoch = 1, long generation = 1, DesiredState state = DesiredState.Running, long restart = 0, string image = "busybox") => new()
    {
        Uid = uid,
        Name = "name-" + uid,
        Project = "default",
        Epoch = epoch,
        Generation = generation,
        Spec = new InstanceSpec { Type = InstanceType.Container, Image = image, DesiredState = state, RestartGeneration = restart, Resources = new Resources { MemoryBytes = 64 << 20 } },
    };

    public static DriverInstance Running(string uid, long epoch = 1) => new(
        Id(uid), new Epoch(epoch), "name-" + uid, "default", 1, 0, DriverState.Running, 42, new DateTimeOffset(2029, 1, 1, 0, 0, 0, TimeSpan.Zero));

    /// <summary>Gives agents that start from now on a runtime of VMs beside that of containers.</summary>
    public AgentWorld WithVms()
    {
        Vms = new FakeMachine(Time) { Observer = effect => Effects.Add($"{effect.What} vm {NameOf(effect.Id.Value)}") };
        return this;
    }

    /// <summary>Starts an agent on the machine as it is.</summary>
    public AgentWorld Boot()
    {
        Machine.Observer ??= effect => Effects.Add($"{effect.What} {NameOf(effect.Id.Value)}");
        var random = new SeededRandom(1);
        List<IInstanceDriver> drivers = [new FakeDriver(Machine, Driver)];
        if (Vms is not null)
        {
            drivers.Insert(0, new FakeDriver(Vms, VmDriver, InstanceType.Vm));
        }

        var network = new FakeNetwork(Machine, Network);
        HintNetwork = network.Hint;
        Node = new NodeState(Identity, Time, random, NullLogger<NodeState>.Instance);
        var reporter = new StatusReporter(Node, ControlPlane, Time, random, NullLogger<StatusReporter>.Instance);
        var services = new RunnerServices(drivers, network, new FakeImages(Images), Health, reporter, Time, random, NullLogger<Runner>.Instance);
        var profile = new NodeProfile("node-1", "127.0.0.1:50052", "worker", "", "", new Dictionary<string, string>(), [.. drivers.Select(driver => driver.Type)], "1")
        {
            Devices = new Dictionary<string, int> { ["gpu"] = 2 },
        };
        Heartbeats = new Heartbeats(Node, ControlPlane, new TimeProviderLeaseClock(Time), Time, random, NullLogger<Heartbeats>.Instance);
        var agent = new NodeAgent(
            Node,
            new Registration(profile, Node, new FakeHost(), drivers, null, ControlPlane, Time, random, NullLogger<Registration>.Instance),
            Heartbeats,
            new Reconciler(Node, ControlPlane, services, NullLogger<Reconciler>.Instance),
            reporter,
            network,
            Time,
            random,
            NullLogger<NodeAgent>.Instance);
        _running = new CancellationTokenSource();
        _agent = agent.RunAsync(_running.Token);
        Settle();
        return this;
    }

    /// <summary>The agent ends; the machine does not.</summary>
    public void Kill()
    {
        _running!.Cancel();
        Settle();
        Assert.True(_agent!.IsCompleted, "The agent did not end when it was asked to.");
        ControlPlane.Disconnect();
        Settle();
    }

    /// <summary>Runs everything that can run without time passing.</summary>
    public void Settle()
    {
        _thread.Run();
        if (_agent is { IsFaulted: true } broken)
        {
            broken.GetAwaiter().GetResult();
        }
    }

    public void Advance(TimeSpan span)
    {
        for (var passed = TimeSpan.Zero; passed < span; passed += Tick)
        {
            Time.Advance(Tick);
            Settle();
        }
    }

    public void Send(params AssignmentEvent[] events)
    {
        foreach (var @event in events)
        {
            ControlPlane.Send(@event);
        }

        Settle();
    }

    public void Put(Assignment assignment) => Send(new AssignmentEvent { Put = assignment });

    public void Remove(string uid, long epoch) => Send(new AssignmentEvent { Remove = new Removal { Uid = uid, Epoch = epoch } });

    public void Sync() => Send(new AssignmentEvent { Synced = new AssignmentsSynced() });

    public InstanceStatus Status(string uid) => ControlPlane.Statuses[uid].Status;

    public void Dispose()
    {
        _running?.Cancel();
        _thread.Run();
        _running?.Dispose();
        SynchronizationContext.SetSynchronizationContext(_before);
    }

    private sealed class OneThread : SynchronizationContext
    {
        private readonly Queue<(SendOrPostCallback Callback, object? State)> _queue = new();
        private readonly int _thread = Environment.CurrentManagedThreadId;
        private string? _escape;

        public override void Post(SendOrPostCallback d, object? state)
        {
            if (Environment.CurrentManagedThreadId != _thread)
            {
                _escape ??= Environment.StackTrace;
            }

            lock (_queue)
            {
                _queue.Enqueue((d, state));
            }
        }

        public void Run()
        {
            while (true)
            {
                (SendOrPostCallback Callback, object? State) next;
                lock (_queue)
                {
                    if (!_queue.TryDequeue(out next))
                    {
                        break;
                    }
                }

                next.Callback(next.State);
            }

            Assert.True(_escape is null, $"Code left its thread: {_escape}");
        }
    }
}

/// <summary>The same bytes for the same seed.</summary>
internal sealed class SeededRandom(int seed) : IRandomSource
{
    private readonly Random _random = new(seed);

    public void Fill(Span<byte> buffer) => _random.NextBytes(buffer);
}
