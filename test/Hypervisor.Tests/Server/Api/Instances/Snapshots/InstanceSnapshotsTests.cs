using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances.Snapshots;

/// <summary>Protects: snapshots are wanted once, in an order that cannot be mistaken, and never where they could not be.</summary>
public sealed class InstanceSnapshotsTests
{
    [Fact(Timeout = 60_000)]
    public async Task A_snapshot_is_desired_state_of_the_present_stay_and_is_asked_for_once()
    {
        await using var world = await SnapshotWorld.StartAsync();

        var after = await world.Create("s1", requestId: "r1");
        await world.Create("s1", requestId: "r1");

        var wanted = Assert.Single(after.Spec.Snapshots);
        Assert.Equal(("s1", false, 1L, 2L), (wanted.Name, wanted.Memory, wanted.Epoch, after.Metadata.Generation));
        Assert.NotEmpty(wanted.Uid);
        Assert.Equal(world.Replica.Time.GetUtcNow(), wanted.CreatedAt.ToDateTimeOffset());
        var (_, message) = await SnapshotWorld.RefusedAsync(() => world.Create("s1"), StatusCode.AlreadyExists);
        Assert.Contains("take another name", message, StringComparison.Ordinal);
    }

    [Fact(Timeout = 60_000)]
    public async Task Listed_are_those_that_are_wanted_with_what_the_node_has()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1");
        await world.ReportAsync();
        await world.Create("s2");

        var listed = await world.Replica.Instances.Snapshots.ListAsync(new() { Instance = "web" }, TestContext.Current.CancellationToken);

        Assert.Equal(
            [("s1", SnapshotState.Ready), ("s2", SnapshotState.Creating)], listed.Snapshots.Select(snapshot => (snapshot.Spec.Name, snapshot.Status.State)));
    }

    [Fact(Timeout = 60_000)]
    public async Task What_cannot_be_taken_is_refused_with_what_to_do()
    {
        await using var container = await SnapshotWorld.StartAsync(InstanceType.Container);
        Assert.Equal("NOT_SUPPORTED", (await SnapshotWorld.RefusedAsync(() => container.Create("s1"))).Reason);
        await using var pending = await SnapshotWorld.StartAsync(placed: false);
        Assert.Equal("NOT_PLACED", (await SnapshotWorld.RefusedAsync(() => pending.Create("s1"))).Reason);
        await using var world = await SnapshotWorld.StartAsync();
        foreach (var name in new[] { "", "Upper", "-x", new string('x', 64) })
        {
            Assert.Contains("name", (await SnapshotWorld.RefusedAsync(() => world.Create(name), StatusCode.InvalidArgument)).Message, StringComparison.Ordinal);
        }

        await SnapshotWorld.RefusedAsync(() => world.Create("s1", instance: "nobody"), StatusCode.NotFound);
        await world.Stop();
        Assert.Equal("NOT_RUNNING", (await SnapshotWorld.RefusedAsync(() => world.Create("s1", memory: true))).Reason);
        for (var index = 0; index < Limits.Instance.Snapshots; index++)
        {
            await world.Create($"s{index}");
        }

        var (reason, message) = await SnapshotWorld.RefusedAsync(() => world.Create("more"));
        Assert.Equal("TOO_MANY_SNAPSHOTS", reason);
        Assert.Contains("delete one first", message, StringComparison.Ordinal);
    }

    [Fact(Timeout = 60_000)]
    public async Task Only_what_the_node_has_can_be_gone_back_to()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1");

        Assert.Equal("SNAPSHOT_NOT_READY", (await SnapshotWorld.RefusedAsync(() => world.Restore("s1"))).Reason);
        await world.ReportAsync(state: SnapshotState.Failed);
        Assert.Contains("DiskFull: the disk is full", (await SnapshotWorld.RefusedAsync(() => world.Restore("s1"))).Message, StringComparison.Ordinal);
        await SnapshotWorld.RefusedAsync(() => world.Restore("s2"), StatusCode.NotFound);
        await world.ReportAsync();
        var restored = await world.Restore("s1", "r1");
        await world.Restore("s1", "r1");

        Assert.Equal((restored.Spec.Snapshots[0].Uid, 1), (restored.Spec.Restore.SnapshotUid, world.Web.Spec.Restore.Generation));
        Assert.Equal(2, (await world.Restore(restored.Spec.Snapshots[0].Uid)).Spec.Restore.Generation);
    }

    [Fact(Timeout = 60_000)]
    public async Task Meanwhile_nothing_is_taken_and_what_is_gone_back_to_stays()
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1");
        await world.Create("s2");
        await world.ReportAsync();
        await world.Restore("s1");

        Assert.Equal("RESTORE_UNDER_WAY", (await SnapshotWorld.RefusedAsync(() => world.Create("s3"))).Reason);
        Assert.Equal("RESTORE_UNDER_WAY", (await SnapshotWorld.RefusedAsync(() => world.Delete("s1"))).Reason);
        Assert.Equal("s1", Assert.Single((await world.Delete("s2")).Spec.Snapshots).Name);
        await world.ReportAsync(restored: 1);
        await world.Create("s3");
        Assert.Equal("s3", Assert.Single((await world.Delete("s1")).Spec.Snapshots).Name);
        await SnapshotWorld.RefusedAsync(() => world.Delete("s1"), StatusCode.NotFound);
    }

    [Theory(Timeout = 60_000)]
    [InlineData(true, DesiredState.Running)]
    [InlineData(false, DesiredState.Stopped)]
    public async Task With_memory_a_stopped_instance_goes_on(bool memory, DesiredState expected)
    {
        await using var world = await SnapshotWorld.StartAsync();
        await world.Create("s1", memory);
        await world.ReportAsync();
        await world.Stop();

        Assert.Equal(expected, (await world.Restore("s1")).Spec.DesiredState);
    }

    [Fact(Timeout = 60_000)]
    public async Task Updates_leave_them_as_they_are()
    {
        await using var world = await SnapshotWorld.StartAsync();
        var before = await world.Create("s1");
        await world.ReportAsync();
        before = await world.Restore("s1");
        var cancellation = TestContext.Current.CancellationToken;

        var after = await world.Replica.Instances.Updates.UpdateAsync(
            new() { Instance = new() { Metadata = new() { Name = "web", Labels = { ["a"] = "b" } } }, UpdateMask = new() { Paths = { "metadata.labels" } } }, cancellation);
        Assert.Equal(before.Spec, after.Instance.Spec);
        var forbidden = new UpdateInstanceRequest { Instance = new() { Metadata = new() { Name = "web" }, Spec = new() }, UpdateMask = new() { Paths = { "spec.snapshots" } } };
        var (_, message) = await SnapshotWorld.RefusedAsync(() => world.Replica.Instances.Updates.UpdateAsync(forbidden, cancellation), StatusCode.InvalidArgument);
        Assert.Contains("call CreateSnapshot or DeleteSnapshot", message, StringComparison.Ordinal);
    }
}
