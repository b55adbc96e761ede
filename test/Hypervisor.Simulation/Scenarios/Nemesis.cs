using Hypervisor.Simulation.Cluster;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>Kills, pauses and cuts by the seed, one fault after the other and some at once, then heals everything.</summary>
internal sealed class Nemesis(SimulatedCluster cluster)
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(8);

    private SeededRandom Random => cluster.Loop.Random;

    private TimeProvider Clock => cluster.Loop.Outside.Clock;

    public int Faults { get; private set; }

    public async Task RunAsync(TimeSpan duration)
    {
        List<Task> healing = [];
        var started = Clock.GetTimestamp();
        while (Clock.GetElapsedTime(started) < duration)
        {
            await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(300), TimeSpan.FromSeconds(3)), Clock);
            healing.RemoveAll(task => task.IsCompletedSuccessfully);
            healing.Add(OneFaultAsync());
            Faults++;
        }

        await Task.WhenAll(healing);
    }

    private async Task OneFaultAsync()
    {
        var host = cluster.Hosts[Random.Next(cluster.Hosts.Count)];
        switch (Random.Next(6))
        {
            case 0:
                var server = cluster.Server!.Process;
                if (!server.IsDead)
                {
                    server.Kill();
                    await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(50), TimeSpan.FromSeconds(2)), Clock);
                    cluster.StartServer();
                }

                break;
            case 1:
                var agent = cluster.AgentOf(host);
                if (!agent.IsDead)
                {
                    agent.Kill();
                    await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(50), TimeSpan.FromSeconds(4)), Clock);
                    cluster.StartAgent(host);
                }

                break;
            case 2:
                await HoldAsync(cluster.Server!.Process);
                break;
            case 3:
                await HoldAsync(cluster.AgentOf(host));
                break;
            default:
                cluster.Network.Cut(host.Name);
                await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(100), Long), Clock);
                cluster.Network.Heal(host.Name);
                break;
        }
    }

    private async Task HoldAsync(SimulatedProcess process)
    {
        process.Pause();
        await Task.Delay(Random.Between(TimeSpan.FromMilliseconds(100), Long), Clock);
        process.Resume();
    }
}
