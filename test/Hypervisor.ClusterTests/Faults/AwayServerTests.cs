using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: a node does without its server. What runs goes on, also through a restart of the agent; when the server is back it
/// learns what happened meanwhile, and nothing is started, stopped or lost because of it (NoGhostKill, NoStorm, Converges).
/// </summary>
[Collection(OneCluster.Name)]
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class AwayServerTests(OneCluster fixture)
{
    private LocalCluster Cluster => fixture.Cluster;

    [Fact]
    public async Task An_agent_that_restarts_while_the_server_is_away_adopts_what_runs()
    {
        var baseline = await fixture.BeginAsync();
        var before = await Cluster.RunAsync("kept", "sleep", "3600");
        var process = Cluster.ProcessOf(before);

        await Cluster.Server.KillAsync();
        await Cluster.Agent.KillAsync();
        var seen = Occurrences("Registering failed");
        Cluster.Agent.Start();
        await RealTime.UntilAsync("the agent misses its server", TimeSpan.FromSeconds(20), () => Occurrences("Registering failed") > seen);
        Assert.Equal(process, Cluster.ProcessOf(before));

        Cluster.Server.Start();
        await Cluster.NodeReadyAsync();
        var after = await Cluster.RunningAsync("kept");
        Assert.Equal(process, Cluster.ProcessOf(after));
        Assert.Equal(before.Metadata.Uid, after.Metadata.Uid);
        Assert.Equal(before.Placement.Epoch, after.Placement.Epoch);
        Assert.Equal(before.Status.IpAddresses, after.Status.IpAddresses);

        // It is the new agent's: what is asked for now is done.
        await Cluster.Compute.RestartInstanceAsync(new RestartInstanceRequest { Instance = "kept" }, deadline: LocalCluster.Deadline(10));
        Assert.NotEqual(process, Cluster.ProcessOf(await Cluster.RunningAsync("kept")));
        await Cluster.DeleteAsync("kept");
        await Cluster.LeavesAsync(baseline, "the instance");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_process_that_ends_while_the_server_is_away_is_reported_and_not_started_again(bool agentRestarts)
    {
        var baseline = await fixture.BeginAsync();
        var kept = await Cluster.RunAsync("kept", "sleep", "3600");
        var lost = await Cluster.RunAsync("lost", "sleep", "3600");
        var (keptProcess, lostProcess) = (Cluster.ProcessOf(kept), Cluster.ProcessOf(lost));

        await Cluster.Server.KillAsync();
        if (agentRestarts)
        {
            await Cluster.Agent.KillAsync();
        }

        Linux.Signal(lostProcess, Linux.SignalKill);
        await RealTime.UntilAsync("the process ends", TimeSpan.FromSeconds(10), () => !Linux.IsRunning(lostProcess));
        if (agentRestarts)
        {
            Cluster.Agent.Start();
        }

        // Longer than a heartbeat may be missing: time itself is what is waited for.
        await Task.Delay(Cluster.Options.HeartbeatTimeout + Cluster.Options.HeartbeatInterval, RealTime.Clock);
        Assert.Equal([keptProcess], new Leftovers(Cluster).InstanceProcesses());

        Cluster.Server.Start();
        await Cluster.NodeReadyAsync();
        var failed = await Cluster.InstanceAsync("lost", "has failed", instance => Instances.Settled(instance, InstanceState.Failed));
        await Cluster.RunningAsync("kept");

        Assert.Equal("Signal", failed.Status.Reason);
        Assert.Equal(Linux.SignalKill, failed.Status.Exit.Signal);
        Assert.Equal([keptProcess], new Leftovers(Cluster).InstanceProcesses());
        await Cluster.DeleteAsync("lost");
        await Cluster.DeleteAsync("kept");
        await Cluster.LeavesAsync(baseline, "the instances");
    }

    private int Occurrences(string text) => Cluster.Agent.Log.Split(text).Length - 1;
}
