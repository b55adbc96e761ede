using Google.Protobuf.WellKnownTypes;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>Protects, with real processes: what ended or does not work is started again as asked, in the same container.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class RestartTests(RestartTests.Either fixture) : IClassFixture<RestartTests.Either>
{
    public sealed class Either() : EndToEnd.Fixture;

    private LocalCluster Cluster => fixture.Cluster;

    [Fact]
    public async Task A_process_that_fails_is_started_again_as_often_as_allowed_with_what_it_wrote()
    {
        var spec = Spec("sh", "-c", "echo run >> /runs; [ $(wc -l < /runs) -ge 3 ] && exec sleep 3600; exit 5");
        spec.Restart = new RestartSpec { Policy = RestartPolicy.OnFailure, MaxRestarts = 2 };
        await CreateAsync("fails-twice", spec);

        var waiting = await Cluster.InstanceAsync("fails-twice", "waits", instance => instance.Status.Reason == "RestartBackoff");
        Assert.Equal(5, waiting.Status.Exit.Code);
        var running = await Cluster.InstanceAsync("fails-twice", "runs for the third time", instance =>
            instance.Status is { State: InstanceState.Running, Restarts: 2 });
        Assert.Equal("100000", await QuotaAsync(running));

        // Its third failure is one too many.
        Linux.Signal(Cluster.ProcessOf(running), Linux.SignalKill);
        var ended = await Cluster.InstanceAsync("fails-twice", "stays ended", instance => instance.Status.State == InstanceState.Failed);
        Assert.Equal(("Signal", 2), (ended.Status.Reason, ended.Status.Restarts));
        await DeleteAsync("fails-twice");
    }

    [Fact]
    public async Task A_server_that_stops_answering_is_unhealthy_and_started_again()
    {
        var spec = Spec("sh", "-c", "mkdir -p /www; [ -e /ran ] || { touch /ran; sed -n 1,1p /etc/hosts > /www/ready; }; exec httpd -f -p 80 -h /www");
        spec.Health = new HealthCheck
        {
            Http = new HttpCheck { Port = 80, Path = "/ready" },
            Interval = Duration.FromTimeSpan(TimeSpan.FromSeconds(1)),
            FailureThreshold = 2,
            OnUnhealthy = UnhealthyAction.Restart,
        };
        await CreateAsync("server", spec);
        await Cluster.InstanceAsync("server", "is healthy", instance => Healthy(instance) == ConditionStatus.True);
        var process = Assert.Single(new Leftovers(Cluster).InstanceProcesses());

        File.Delete($"/proc/{process}/root/www/ready");
        await Cluster.InstanceAsync("server", "was started again", instance => instance.Status is { State: InstanceState.Running, Restarts: >= 1 });
        Assert.DoesNotContain(process, new Leftovers(Cluster).InstanceProcesses());
        await DeleteAsync("server");
    }

    private static ConditionStatus Healthy(Instance instance) =>
        instance.Status.Conditions.FirstOrDefault(condition => condition.Type == "Healthy")?.Status ?? ConditionStatus.Unspecified;

    private static InstanceSpec Spec(params string[] command) => new()
    {
        Type = InstanceType.Container,
        Image = "busybox",
        Resources = new Resources { CpuMillicores = 1000, MemoryBytes = 32 << 20 },
        Process = new ProcessSpec { Command = { command } },
        Stop = new StopSpec { Signal = "SIGKILL" },
    };

    private async Task<string> QuotaAsync(Instance instance) =>
        (await File.ReadAllTextAsync($"/sys/fs/cgroup/cpu{Cluster.CgroupParent}/{instance.Metadata.Uid}/cpu.cfs_quota_us")).Trim();

    private async Task CreateAsync(string name, InstanceSpec spec) =>
        await Cluster.Compute.CreateInstanceAsync(new CreateInstanceRequest { Name = name, Spec = spec }, deadline: LocalCluster.Deadline(10));

    private async Task DeleteAsync(string name)
    {
        await Cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
            (await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5)))
                .Instances.All(instance => instance.Metadata.Name != name));
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }
}
