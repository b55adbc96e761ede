using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances.Snapshots;

/// <summary>Protects: a clone is made once, of disks that exist and that nobody writes to, and nothing it depends on goes before it has its own.</summary>
public sealed class InstanceCloningTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task A_clone_is_what_its_source_is_but_for_what_there_can_be_one_of()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1");
        await world.ReportAsync();
        var source = world.Web;

        var clone = await world.Clone("copy", "s1", "r1");
        Assert.Equal(clone.Metadata.Uid, (await world.Clone("copy", "s1", "r1")).Metadata.Uid);

        Assert.Equal((world.Uid, source.Spec.Snapshots[0].Uid), (clone.Spec.Source.InstanceUid, clone.Spec.Source.SnapshotUid));
        Assert.Equal((source.Spec.Image, source.Spec.Resources, source.Spec.Disks), (clone.Spec.Image, clone.Spec.Resources, clone.Spec.Disks));
        Assert.Equal((0, 0, null), (clone.Spec.Snapshots.Count, clone.Spec.Network.Ports.Count, clone.Spec.Restore));
        Assert.Equal((1, DesiredState.Running, "copy"), (clone.Metadata.Generation, clone.Spec.DesiredState, clone.Metadata.Name));
        await SnapshotWorld.RefusedAsync(() => world.Clone("web", "s1"), StatusCode.AlreadyExists);
    }

    [Fact(Timeout = 60_000)]
    public async Task What_cannot_be_copied_is_refused_with_what_to_do()
    {
        await using var container = await SnapshotWorld.StartAsync(InstanceType.Container);
        Assert.Equal("NOT_SUPPORTED", (await SnapshotWorld.RefusedAsync(() => container.Clone("copy"))).Reason);
        await using var pending = await SnapshotWorld.StartAsync(placed: false);
        Assert.Equal("NOT_PLACED", (await SnapshotWorld.RefusedAsync(() => pending.Clone("copy"))).Reason);
        await using var world = await SnapshotWorld.StartAsync();
        var (reason, message) = await SnapshotWorld.RefusedAsync(() => world.Clone("copy"));
        Assert.Equal("NOT_STOPPED", reason);
        Assert.Contains("name a snapshot to be cloned, or stop it first", message, StringComparison.Ordinal);
        await world.Create("s1");
        Assert.Equal("SNAPSHOT_NOT_READY", (await SnapshotWorld.RefusedAsync(() => world.Clone("copy", "s1"))).Reason);
        await SnapshotWorld.RefusedAsync(() => world.Clone("copy", "s2"), StatusCode.NotFound);
        await SnapshotWorld.RefusedAsync(() => world.Clone("Copy", "s1"), StatusCode.InvalidArgument);
        await world.Stop();
        Assert.Equal("", (await world.Clone("copy")).Spec.Source.SnapshotUid);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_snapshot_stays_until_what_is_made_of_it_is_there()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1");
        await world.ReportAsync();
        var clone = await world.Clone("copy", "s1");

        var (reason, message) = await SnapshotWorld.RefusedAsync(() => world.Delete("s1"));
        Assert.Equal("CLONE_UNDER_WAY", reason);
        Assert.Contains("'copy'", message, StringComparison.Ordinal);
        await world.Replica.WriteAsync(
            Replica.Place(clone.Metadata.Uid, "n1", 1), Replica.Report(clone.Metadata.Uid, 1, InstanceState.Running));
        Assert.Empty((await world.Delete("s1")).Spec.Snapshots);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_source_that_goes_while_it_is_cloned_leaves_no_clone()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Stop();
        var both = Task.WhenAll(
            world.Replica.Instances.Deletion.DeleteAsync(new() { Instance = "web" }, Cancellation),
            world.Clone("copy"));

        try
        {
            await both;
        }
        catch (RpcException refused)
        {
            Assert.Equal(StatusCode.FailedPrecondition, refused.StatusCode);
            Assert.Null(world.Replica.State.View.InstanceByName("default", "copy"));
        }

        Assert.True(world.Replica.State.View.InstanceByName("default", "web")!.Deleting);
    }
}
