using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Server.Backups;

/// <summary>
/// Protects: moving from the embedded store to etcd is a restore, under which nothing that runs is touched; and a damaged
/// backup changes nothing.
/// </summary>
public sealed class MigrationTests
{
    [Fact(Timeout = 300_000)]
    public async Task An_instance_runs_on_from_the_embedded_store_into_etcd()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { EtcdMembers = 0 });
        await cluster.ImportBusyboxAsync();
        await CreateAsync(cluster, "stays");
        var before = await cluster.InstanceAsync("stays", "runs", instance => instance.Status.State == InstanceState.Running);
        var process = Assert.Single(new Leftovers(cluster).InstanceProcesses());
        var backup = $"{cluster.Folder}/cluster.backup";
        await ControlAsync(cluster, "cluster", "backup", backup);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(backup));

        await cluster.Server.StopAsync();
        await cluster.StartEtcdAsync(members: 3);
        var cut = $"{cluster.Folder}/cut.backup";
        var bytes = await File.ReadAllBytesAsync(backup, TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(cut, bytes[..^1], TestContext.Current.CancellationToken);
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => RestoreAsync(cluster, cut));
        Assert.Contains("its checksum is wrong", refused.Message, StringComparison.Ordinal);
        Assert.Equal("", (await cluster.Etcd!.ControlAsync("get", "--prefix", "", "--keys-only")).Trim());

        var told = await RestoreAsync(cluster, backup);
        Assert.Contains("into the etcd store, incarnation 2", told, StringComparison.Ordinal);
        cluster.Server.Start();
        await cluster.NodeReadyAsync();

        var info = await cluster.Nodes.GetClusterInfoAsync(new GetClusterInfoRequest(), deadline: LocalCluster.Deadline(10));
        Assert.Equal("etcd", info.Store);
        var after = await cluster.InstanceAsync("stays", "runs under a later epoch", instance =>
            instance.Status.State == InstanceState.Running && instance.Placement.Epoch > before.Placement.Epoch
            && instance.Status.ObservedEpoch == instance.Placement.Epoch);
        Assert.Equal(before.Metadata.Uid, after.Metadata.Uid);
        Assert.True(after.Metadata.ResourceVersion > before.Metadata.ResourceVersion);
        Assert.Equal(process, Assert.Single(new Leftovers(cluster).InstanceProcesses()));

        await CreateAsync(cluster, "later");
        await cluster.InstanceAsync("later", "runs", instance => instance.Status.State == InstanceState.Running);
        Assert.Equal(2, new Leftovers(cluster).InstanceProcesses().Count);
    }

    private static async Task CreateAsync(LocalCluster cluster, string name) => await cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = "busybox",
                Resources = new Resources { CpuMillicores = 100, MemoryBytes = 32 << 20 },
                Process = new ProcessSpec { Command = { "sleep", "3600" } },
            },
        },
        deadline: LocalCluster.Deadline(10));

    private static Task<string> RestoreAsync(LocalCluster cluster, string file) =>
        ControlAsync(cluster, "cluster", "restore", file, "--config", $"{cluster.Folder}/server.yaml");

    private static Task<string> ControlAsync(LocalCluster cluster, params string[] arguments) =>
        Shell.RunAsync("nsenter", [$"--net={cluster.NetworkNamespace}", "--", $"{LocalCluster.Binaries}/hypervisor-ctl", .. arguments]);
}
