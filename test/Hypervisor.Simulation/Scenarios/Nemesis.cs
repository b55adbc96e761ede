using Hypervisor.Protocol.V1;
using Hypervisor.Simulation.Cluster;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>
/// Faults by the seed, one after the other and some at once; each heals by itself. Which kinds there are differs from seed to
/// seed, so that each also meets runs in which it is not drowned by the others.
/// </summary>
internal sealed class Nemesis
{
    private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(8);

    private readonly SimulatedCluster _cluster;
    private readonly List<Func<Task>> _kinds;

    public Nemesis(SimulatedCluster cluster)
    {
        _cluster = cluster;
        List<Func<Task>> all =
        [
            KillServerAsync, KillServerAsync, KillAgentAsync, KillAgentAsync, HoldServerAsync, HoldAgentAsync, CutAsync, CutAsync,
            CutUsersAsync, EndProcessesAsync, MuteRuntimeAsync, PowerCycleAsync,
        ];
        _kinds = [.. all.Where(_ => Random.Chance(0.75))];
        _kinds.Add(all[0]);
    }

    private SeededRandom Random => _cluster.Loop.Random;

    private TimeProvider Clock => _cluster.Loop.Outside.Clock;

    private SimulatedHost AnyHost => _cluster.Hosts[Random.Next(_cluster.Hosts.Count)];

    public int Faults { get; private set; }

    public async Task RunAsync(TimeSpan duration)
    {
        List<Task> healing = [];
        var started = Clock.GetTimestamp();
        while (Clock.GetElapsedTime(started) < duration)
        {
            await WaitAsync(TimeSpan.FromMilliseconds(300), TimeSpan.FromSeconds(3));
            healing.RemoveAll(task => task.IsCompletedSuccessfully);
            healing.Add(_kinds[Random.Next(_kinds.Count)]());
            Faults++;
        }

        await Task.WhenAll(healing);
    }

    private async Task KillServerAsync()
    {
        var server = _cluster.Server!.Process;
        if (!server.IsDead)
        {
            server.Kill();
            await WaitAsync(Moment, TimeSpan.FromSeconds(2));
            _cluster.StartServer();
        }
    }

    private async Task KillAgentAsync()
    {
        var host = AnyHost;
        var agent = _cluster.AgentOf(host);
        if (!agent.IsDead)
        {
            agent.Kill();
            await WaitAsync(Moment, TimeSpan.FromSeconds(4));
            _cluster.StartAgent(host);
        }
    }

    /// <summary>The whole machine: its processes are gone, what is on its disk is not.</summary>
    private async Task PowerCycleAsync()
    {
        var host = AnyHost;
        var agent = _cluster.AgentOf(host);
        if (!agent.IsDead)
        {
            agent.Kill();
            host.PowerCycle();
            await WaitAsync(TimeSpan.FromSeconds(1), Long);
            _cluster.StartAgent(host);
        }
    }

    private Task HoldServerAsync() => HoldAsync(_cluster.Server!.Process);

    private Task HoldAgentAsync() => HoldAsync(_cluster.AgentOf(AnyHost));

    private async Task HoldAsync(SimulatedProcess process)
    {
        process.Pause();
        await WaitAsync(TimeSpan.FromMilliseconds(100), Long);
        process.Resume();
    }

    private Task CutAsync() => CutAsync(AnyHost.Name);

    private Task CutUsersAsync() => CutAsync(Users.Host);

    private async Task CutAsync(string host)
    {
        _cluster.Network.Cut(host);
        await WaitAsync(TimeSpan.FromMilliseconds(100), Long);
        _cluster.Network.Heal(host);
    }

    /// <summary>Some of what runs on a machine ends by itself.</summary>
    private Task EndProcessesAsync()
    {
        var machine = AnyHost.Machine;
        foreach (var instance in machine.All().Where(_ => Random.Chance(0.3)))
        {
            machine.Exit(instance.Id, new ExitStatus { Code = 1 });
        }

        return Task.CompletedTask;
    }

    /// <summary>A runtime that answers nothing, also not to an agent that starts meanwhile.</summary>
    private async Task MuteRuntimeAsync()
    {
        var host = AnyHost;
        host.IsMute = true;
        await WaitAsync(TimeSpan.FromMilliseconds(100), Long);
        host.IsMute = false;
    }

    private Task WaitAsync(TimeSpan least, TimeSpan most) => Task.Delay(Random.Between(least, most), Clock);
}
