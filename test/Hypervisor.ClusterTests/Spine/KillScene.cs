using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using Moment = Hypervisor.ClusterTests.Spine.KillMatrix.Moment;
using Victim = Hypervisor.ClusterTests.Spine.KillMatrix.Victim;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>A cluster with a bystander, in which one kind of process is killed again and again.</summary>
public sealed partial class KillScene : IAsyncDisposable
{
    /// <summary>A project of its own: instances of different projects never share a shim.</summary>
    private const string BystanderProject = "bystanders";

    private readonly LocalCluster _cluster;
    private readonly Victim _victim;
    private readonly WatchLog _watch;
    private int _bystander;
    private IReadOnlyList<int> _bystanderShims = [];
    private IReadOnlyList<string> _baseline = [];
    private SlowRegistry? _registry;
    private int _lives;
    private int _kills;

    private KillScene(LocalCluster cluster, Victim victim)
    {
        (_cluster, _victim) = (cluster, victim);
        _watch = WatchLog.Start(cluster);
    }

    private static async Task<KillScene> StartAsync(Victim victim, int etcdMembers)
    {
        var cluster = await LocalCluster.StartAsync(
            new LocalClusterOptions { ShimGroup = victim != Victim.Shim, EtcdMembers = etcdMembers, ServerYaml = SlowRegistry.ServerYaml });
        var scene = new KillScene(cluster, victim);
        try
        {
            scene._registry = await SlowRegistry.StartAsync(cluster);
            await cluster.ImportBusyboxAsync();
            await cluster.ImportBusyboxAsync(BystanderProject);

            // Never touched: its process must be the same one at the end.
            await scene.CreateAsync("bystander", "bystander", 9000, BystanderProject);
            await cluster.InstanceAsync("bystander", "runs", IsRunning, project: BystanderProject);
            scene._bystander = Assert.Single(new Leftovers(cluster).InstanceProcesses());
            scene._bystanderShims = new Leftovers(cluster).Shims();
            scene._baseline = await new Leftovers(cluster).ListAsync();
            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    /// <summary>One instance from its creation to its removal, in which the victim is killed once.</summary>
    /// <returns>How many processes were killed.</returns>
    internal async Task<int> LifeAsync(Moment moment, KillPoint point, int seed)
    {
        _kills = 0;
        var name = $"{moment.ToString().ToLowerInvariant()}-{seed}-{++_lives}";

        // Shares the shim with the instance, and so its fate.
        var companion = _victim == Victim.SharedShim ? $"companion-{_lives}" : null;
        if (companion is not null)
        {
            await CreateAsync(companion, companion, 9002);
            await _cluster.InstanceAsync(companion, "runs", IsRunning);
        }

        if (_cluster.Etcd is { } etcd)
        {
            // The member that died in the life before is back: one of three may be away, not two.
            await etcd.HealthyAsync();
        }

        if (moment is Moment.Pull or Moment.Streams)
        {
            await (moment == Moment.Pull ? PullLifeAsync(name, point) : StreamsLifeAsync(name, point));
        }
        else
        {
            await WithKillAsync(await BeforeAsync(moment, name), point);
        }

        // A dead shim takes its instances with it: they may have failed, with a reason. Everything else must reach the wish.
        var shim = _victim is Victim.Shim or Victim.SharedShim;
        switch (moment)
        {
            case Moment.Create or Moment.Start or Moment.Pull:
                await _cluster.InstanceAsync(name, "runs", instance => IsRunning(instance) || (shim && HasFailed(instance)));
                break;
            case Moment.Stop:
                await _cluster.InstanceAsync(name, "stops", instance => IsStopped(instance) || (shim && HasFailed(instance)));
                break;
        }

        if (companion is not null)
        {
            await _cluster.InstanceAsync(companion, "runs again", instance => IsRunning(instance) || HasFailed(instance));
            await DeleteAsync(companion, companion + "-d");
            await GoneAsync(companion);
        }

        if (moment != Moment.Delete)
        {
            await DeleteAsync(name, name + "-d");
        }

        await GoneAsync(name);
        Assert.Equal([_bystander], new Leftovers(_cluster).InstanceProcesses());
        await _cluster.LeavesAsync(_baseline, name);
        return _kills;
    }

    /// <summary>Store, list and watch agree that there is nothing but the bystander.</summary>
    internal async Task RequireOnlyBystanderAsync()
    {
        var everywhere = new ListInstancesRequest { Project = "-" };
        var left = await _cluster.Compute.ListInstancesAsync(everywhere, deadline: LocalCluster.Deadline(5));
        Assert.Equal("bystander", Assert.Single(left.Instances).Metadata.Name);
        await _watch.RequireEqualsListAsync(left);
    }

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync();
        await (_registry?.DisposeAsync() ?? ValueTask.CompletedTask);
        await _cluster.DisposeAsync();
    }

    private async Task<Func<Task>> BeforeAsync(Moment moment, string name)
    {
        if (moment == Moment.Create)
        {
            return () => CreateAsync(name, name, 9001);
        }

        await CreateAsync(name, name + "-c", 9001);
        await _cluster.InstanceAsync(name, "runs", IsRunning);
        if (moment == Moment.Start)
        {
            await StopAsync(name, name + "-s");
            await _cluster.InstanceAsync(name, "stops", IsStopped);
        }

        return moment switch
        {
            Moment.Start => () => StartAsync(name, name),
            Moment.Stop => () => StopAsync(name, name),
            _ => () => DeleteAsync(name, name),
        };
    }

    private async Task WithKillAsync(Func<Task> act, KillPoint point)
    {
        var (first, second) = point.At < TimeSpan.Zero ? ((Func<Task>)KillPointAsync, act) : (act, KillPointAsync);
        var begun = first();
        await Task.Delay(point.At.Duration(), RealTime.Clock);
        await second();
        await begun;

        Task KillPointAsync() => KillAsync(point);
    }

    private async Task KillAsync(KillPoint point)
    {
        if (_victim is Victim.Shim or Victim.SharedShim)
        {
            // A step that takes longer than it should has not begun at a point "after" it: its shim comes, and is waited for.
            List<int> shims = [];
            await RealTime.UntilAsync("there is a shim to be killed", TimeSpan.FromSeconds(20), () =>
                (shims = [.. new Leftovers(_cluster).Shims().Except(_bystanderShims)]).Count > 0 || !point.FindsVictim);
            foreach (var shim in shims)
            {
                Linux.Signal(shim, Linux.SignalKill);
                _kills++;
            }

            return;
        }

        var process = _victim switch
        {
            Victim.Server => _cluster.Server,
            Victim.Agent => _cluster.Agent,
            Victim.EtcdMember => _cluster.Etcd!.Members[_lives % _cluster.Etcd.Members.Count],
            _ => _cluster.Containerd,
        };
        Assert.True(process.IsRunning, $"{process.Name} had ended before it was killed; its log:\n{process.Log}");
        await process.KillAsync();
        _kills++;
        process.Start();
    }

    private async Task GoneAsync(string name)
    {
        Instance? last = null;
        try
        {
            await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(45), async () =>
            {
                try
                {
                    var request = new GetInstanceRequest { Instance = name };
                    last = await _cluster.Compute.GetInstanceAsync(request, deadline: LocalCluster.Deadline(5));
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
            var held = string.Join('\n', await new Leftovers(_cluster).ListAsync());
            throw new TimeoutException($"{exception.Message}; it is {last}\n{held}\n{_cluster.Agent.Log}", exception);
        }
    }

    private static bool IsRunning(Instance instance) => Instances.Settled(instance, InstanceState.Running);

    private static bool IsStopped(Instance instance) => Instances.Settled(instance, InstanceState.Stopped);

    private static bool HasFailed(Instance instance) =>
        Instances.Settled(instance, InstanceState.Failed) && instance.Status.Reason.Length > 0;

    private Task CreateAsync(string name, string requestId, int port, string project = "", string image = "busybox", string script = "exec sleep 3600")
    {
        var request = Instances.Request(name, image, "sh", "-c", script);
        (request.Project, request.RequestId) = (project, requestId);
        request.Spec.Resources = new Resources { CpuMillicores = script == Ticking ? 300 : 10, MemoryBytes = 16 << 20 };
        request.Spec.Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = port, InstancePort = 80 } } };
        return UntilAcknowledgedAsync(deadline => _cluster.Compute.CreateInstanceAsync(request, deadline: deadline).ResponseAsync);
    }

    private Task StartAsync(string name, string requestId)
    {
        var request = new StartInstanceRequest { Instance = name, RequestId = requestId };
        return UntilAcknowledgedAsync(deadline => _cluster.Compute.StartInstanceAsync(request, deadline: deadline).ResponseAsync);
    }

    private Task StopAsync(string name, string requestId)
    {
        var request = new StopInstanceRequest { Instance = name, RequestId = requestId };
        return UntilAcknowledgedAsync(deadline => _cluster.Compute.StopInstanceAsync(request, deadline: deadline).ResponseAsync);
    }

    // Also when the first one was carried out: a repetition is answered with the object.
    private Task DeleteAsync(string name, string requestId)
    {
        var request = new DeleteInstanceRequest { Instance = name, RequestId = requestId };
        return UntilAcknowledgedAsync(deadline => _cluster.Compute.DeleteInstanceAsync(request, deadline: deadline).ResponseAsync);
    }

    /// <summary>What a client does whose answer was lost: the same request again, under the same request_id.</summary>
    private static Task UntilAcknowledgedAsync(Func<DateTime, Task> call) =>
        RealTime.UntilAsync("the call is acknowledged", TimeSpan.FromSeconds(30), async () =>
        {
            try
            {
                await call(LocalCluster.Deadline(5));
                return true;
            }
            catch (RpcException exception)
                when (exception.StatusCode is StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled)
            {
                return false;
            }
        });

    /// <summary>One scene per victim. A row that failed leaves it in a state that would fail the next, which gets a new one.</summary>
    public class Fixture : IAsyncLifetime
    {
        private protected virtual int EtcdMembers => 0;

        private KillScene? _idle;
        private KillScene? _taken;

        public ValueTask InitializeAsync() => ValueTask.CompletedTask;

        internal async Task<KillScene> TakeAsync(Victim victim)
        {
            if (_taken is { } broken)
            {
                _taken = null;
                await broken.DisposeAsync();
            }

            _taken = _idle ?? await StartAsync(victim, EtcdMembers);
            _idle = null;
            return _taken;
        }

        internal void PutBack(KillScene scene) => (_idle, _taken) = (scene, null);

        public async ValueTask DisposeAsync()
        {
            foreach (var scene in new[] { _idle, _taken }.OfType<KillScene>())
            {
                await scene.DisposeAsync();
            }

            GC.SuppressFinalize(this);
        }
    }

    /// <summary>The same on an etcd of three members.</summary>
    public sealed class OnEtcd : Fixture
    {
        private protected override int EtcdMembers => 3;
    }
}
