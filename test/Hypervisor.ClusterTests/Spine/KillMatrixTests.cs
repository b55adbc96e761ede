using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>
/// Protects, with real processes killed in the middle of real work: nothing is destroyed without a tombstone (NoGhostKill), what
/// was acknowledged stays (Durable), a watch misses nothing (WatchExact), a retry has one effect (IdempotentOnce), a half-done
/// step is finished or undone (SagaClean), nothing is left over (NoOrphans), and everything settles (Converges).
/// </summary>
public sealed class KillMatrixTests
{
    // Kill points in milliseconds after the call was sent: a create takes some tens, so these fall before, within and after
    // the store's commit, the assignment, the runtime's steps and the report.
    private static readonly int[] KillPoints = [1, 12, 30, 55, 90];

    public enum Victim
    {
        Server,
        Agent,
        Containerd,
        Shim,
    }

    public enum Moment
    {
        Create,
        Start,
        Stop,
        Delete,
    }

    [Theory]
    [InlineData(Victim.Server)]
    [InlineData(Victim.Agent)]
    [InlineData(Victim.Containerd)]
    [InlineData(Victim.Shim)]
    public async Task Whatever_is_killed_whenever_everything_settles(Victim victim)
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { ShimGroup = victim != Victim.Shim });
        await cluster.ImportBusyboxAsync();
        await using var watch = WatchLog.Start(cluster);

        // Never touched: its process must be the same one at the end.
        await CreateAsync(cluster, "bystander", RequestId(0));
        await cluster.InstanceAsync("bystander", "runs", IsRunning);
        var bystander = Assert.Single(new Leftovers(cluster).InstanceProcesses());
        var baseline = await new Leftovers(cluster).ListAsync();
        var bystanderShim = new Leftovers(cluster).Shims();

        var run = 0;
        foreach (var moment in Enum.GetValues<Moment>())
        {
            foreach (var killPoint in KillPoints)
            {
                run++;
                var name = $"{moment.ToString().ToLowerInvariant()}-{killPoint}";
                await OneRunAsync(cluster, victim, moment, killPoint, name, RequestId(run), bystanderShim);

                Assert.Equal([bystander], new Leftovers(cluster).InstanceProcesses());
                await LeavesNothingAsync(cluster, name, baseline);
            }
        }

        var left = await cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5));
        Assert.Equal("bystander", Assert.Single(left.Instances).Metadata.Name);
        await watch.RequireEqualsListAsync(left);
    }

    private static async Task LeavesNothingAsync(LocalCluster cluster, string name, IReadOnlyList<string> baseline)
    {
        IReadOnlyList<string> present = [];
        try
        {
            await RealTime.UntilAsync($"{name} leaves nothing", TimeSpan.FromSeconds(15), async () =>
                baseline.SequenceEqual(present = await new Leftovers(cluster).ListAsync()));
        }
        catch (TimeoutException exception)
        {
            var more = string.Join('\n', present.Except(baseline).Select(line => "+ " + line).Concat(baseline.Except(present).Select(line => "- " + line)));
            throw new TimeoutException($"{exception.Message}:\n{more}\n{cluster.Agent.Log}", exception);
        }
    }

    private static async Task OneRunAsync(
        LocalCluster cluster, Victim victim, Moment moment, int killPoint, string name, string requestId, IReadOnlyList<int> spared)
    {
        Func<Task> act;
        if (moment == Moment.Create)
        {
            act = () => CreateAsync(cluster, name, requestId);
        }
        else
        {
            await CreateAsync(cluster, name, requestId + "-c");
            await cluster.InstanceAsync(name, "runs", IsRunning);
            if (moment == Moment.Start)
            {
                await StopAsync(cluster, name, requestId + "-s");
                await cluster.InstanceAsync(name, "stops", IsStopped);
            }

            act = moment switch
            {
                Moment.Start => () => StartAsync(cluster, name, requestId),
                Moment.Stop => () => StopAsync(cluster, name, requestId),
                _ => () => DeleteAsync(cluster, name, requestId),
            };
        }

        var acting = act();
        await Task.Delay(TimeSpan.FromMilliseconds(killPoint), RealTime.Clock);
        await KillAsync(cluster, victim, spared);
        await acting;

        // A dead shim takes its instance with it: it may have failed, with a reason. Everything else must reach the wish.
        switch (moment)
        {
            case Moment.Create or Moment.Start:
                await cluster.InstanceAsync(name, "runs", instance => IsRunning(instance) || (victim == Victim.Shim && HasFailed(instance)));
                break;
            case Moment.Stop:
                await cluster.InstanceAsync(name, "stops", instance => IsStopped(instance) || (victim == Victim.Shim && HasFailed(instance)));
                break;
        }

        if (moment != Moment.Delete)
        {
            await DeleteAsync(cluster, name, requestId + "-d");
        }

        await GoneAsync(cluster, name);
    }

    private static async Task GoneAsync(LocalCluster cluster, string name)
    {
        Instance? last = null;
        try
        {
            await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(45), async () =>
            {
                try
                {
                    last = await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(5));
                    return false;
                }
                catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
                {
                    return true;
                }
            });
        }
        catch (TimeoutException exception)
        {
            throw new TimeoutException($"{exception.Message}; it is {last}\n{string.Join('\n', await new Leftovers(cluster).ListAsync())}\n{cluster.Agent.Log}", exception);
        }
    }

    private static async Task KillAsync(LocalCluster cluster, Victim victim, IReadOnlyList<int> spared)
    {
        switch (victim)
        {
            case Victim.Shim:
                foreach (var shim in new Leftovers(cluster).Shims().Except(spared))
                {
                    Linux.Signal(shim, Linux.SignalKill);
                }

                break;
            default:
                var process = victim switch
                {
                    Victim.Server => cluster.Server,
                    Victim.Agent => cluster.Agent,
                    _ => cluster.Containerd,
                };
                await process.KillAsync();
                process.Start();
                break;
        }
    }

    private static bool Settled(Instance instance, InstanceState state) =>
        instance.Status.State == state && instance.Status.ObservedGeneration == instance.Metadata.Generation;

    private static bool IsRunning(Instance instance) => Settled(instance, InstanceState.Running);

    private static bool IsStopped(Instance instance) => Settled(instance, InstanceState.Stopped);

    private static bool HasFailed(Instance instance) => Settled(instance, InstanceState.Failed) && instance.Status.Reason.Length > 0;

    private static string RequestId(int run) => $"kill-matrix-{run}";

    private static Task CreateAsync(LocalCluster cluster, string name, string requestId) => UntilAcknowledgedAsync(deadline =>
        cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = name,
                RequestId = requestId,
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new Resources { CpuMillicores = 10, MemoryBytes = 16 << 20 },
                    Process = new ProcessSpec { Command = { "sleep", "3600" } },
                    Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = name == "bystander" ? 9000 : 9001, InstancePort = 80 } } },
                    Stop = new StopSpec { Signal = "SIGKILL" },
                },
            },
            deadline: deadline).ResponseAsync);

    private static Task StartAsync(LocalCluster cluster, string name, string requestId) => UntilAcknowledgedAsync(deadline =>
        cluster.Compute.StartInstanceAsync(new StartInstanceRequest { Instance = name, RequestId = requestId }, deadline: deadline).ResponseAsync);

    private static Task StopAsync(LocalCluster cluster, string name, string requestId) => UntilAcknowledgedAsync(deadline =>
        cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = name, RequestId = requestId }, deadline: deadline).ResponseAsync);

    // An answer NOT_FOUND to a repeated delete means that the first one was carried out.
    private static Task DeleteAsync(LocalCluster cluster, string name, string requestId) => UntilAcknowledgedAsync(async deadline =>
    {
        try
        {
            await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name, RequestId = requestId }, deadline: deadline);
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
        {
        }
    });

    /// <summary>What a client does whose answer was lost: the same request again, under the same request_id.</summary>
    private static Task UntilAcknowledgedAsync(Func<DateTime, Task> call) => RealTime.UntilAsync("the call is acknowledged", TimeSpan.FromSeconds(30), async () =>
    {
        try
        {
            await call(LocalCluster.Deadline(5));
            return true;
        }
        catch (RpcException exception) when (exception.StatusCode is StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled)
        {
            return false;
        }
    });
}
