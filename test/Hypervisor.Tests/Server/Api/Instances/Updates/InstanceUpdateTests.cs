using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Controllers;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances.Updates;

/// <summary>Protects: an update changes what its mask names, restarts nothing unasked, and never takes room that is not there.</summary>
public sealed class InstanceUpdateTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_applies_live_is_changed_and_nothing_else()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, id) = await RunningAsync(plane);

        var answer = await updates.UpdateAsync(
            Request(instance =>
            {
                instance.Metadata.Labels["a"] = "b";
                instance.Spec = new() { Resources = new() { CpuMillicores = 200, MemoryBytes = 1 << 30 }, Security = new() { PidsLimit = 7 } };
            }, "metadata.labels", "spec.resources.memory_bytes", "spec.security.pids_limit"),
            Token);

        Assert.Empty(answer.RestartRequired);
        Assert.Equal("b", answer.Instance.Metadata.Labels["a"]);
        Assert.Equal((100, 1L << 30, 7), (answer.Instance.Spec.Resources.CpuMillicores, answer.Instance.Spec.Resources.MemoryBytes, answer.Instance.Spec.Security.PidsLimit));
        Assert.Equal((2, 0), (answer.Instance.Metadata.Generation, answer.Instance.Spec.RestartGeneration));
        var view = await plane.ViewAsync(Token);
        Assert.Equal(1L << 30, view.Instance(id)!.PlacementRecord!.Reserved.MemoryBytes);
        Assert.Equal(1L << 30, view.NodeByName("node-a")!.Allocated.MemoryBytes);
    }

    [Fact]
    public async Task Rates_of_the_network_change_while_it_runs_and_those_of_the_disk_with_a_restart()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);

        var answer = await updates.UpdateAsync(
            Request(instance => instance.Spec = new() { Network = new() { Rates = new() { TransmitBytesPerSecond = 65536 } } }, "spec.network.rates.transmit_bytes_per_second"), Token);
        Assert.Empty(answer.RestartRequired);
        Assert.Equal(65536, answer.Instance.Spec.Network.Rates.TransmitBytesPerSecond);
        var disk = Request(instance => instance.Spec = new() { DiskRates = new() { ReadOperationsPerSecond = 10 } }, "spec.disk_rates");
        (disk.DryRun, disk.RequestId) = (true, "");
        Assert.Equal(["spec.disk_rates.read_operations_per_second"], (await updates.UpdateAsync(disk, Token)).RestartRequired);
    }

    [Fact]
    public async Task Labels_alone_are_no_new_desired_state()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);

        var answer = await updates.UpdateAsync(Request(instance => instance.Metadata.Labels["a"] = "b", "metadata.labels"), Token);

        Assert.Equal(1, answer.Instance.Metadata.Generation);
    }

    [Fact]
    public async Task What_needs_a_restart_is_said_before_it_happens_and_refused_until_it_is_allowed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);
        var request = Request(
            instance => instance.Spec = new() { Process = new() { Args = { "3600" }, User = "nobody" } }, "spec.process");

        request.DryRun = true;
        Assert.Equal(["spec.process.args", "spec.process.user"], (await updates.UpdateAsync(request, Token)).RestartRequired);
        request.DryRun = false;
        var refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(request, Token));
        Assert.Equal(StatusCode.FailedPrecondition, refused.StatusCode);
        Assert.Equal("RESTART_REQUIRED", refused.GetRpcStatus()!.GetDetail<ErrorInfo>().Reason);
        Assert.Equal(
            ["spec.process.args", "spec.process.user"],
            refused.GetRpcStatus()!.GetDetail<PreconditionFailure>().Violations.Select(violation => violation.Subject));
        Assert.Equal(1, (await plane.ViewAsync(Token)).InstanceByName("default", "web")!.Metadata.Generation);

        request.AllowRestart = true;
        var answer = await updates.UpdateAsync(request, Token);
        Assert.Equal((2, 1), (answer.Instance.Metadata.Generation, answer.Instance.Spec.RestartGeneration));
    }

    [Theory]
    [InlineData(InstanceState.Stopped)]
    [InlineData(InstanceState.Failed)]
    public async Task What_has_ended_is_not_started_by_an_update(InstanceState state)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, id) = await RunningAsync(plane, state);

        var answer = await updates.UpdateAsync(
            Request(instance => instance.Spec = new() { Process = new() { Args = { "3600" } } }, "spec.process.args"), Token);

        Assert.Empty(answer.RestartRequired);
        Assert.Equal(0, answer.Instance.Spec.RestartGeneration);
        Assert.Equal(id.Value, answer.Instance.Metadata.Uid);
    }

    [Fact]
    public async Task A_larger_request_than_the_node_has_room_for_changes_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, id) = await RunningAsync(plane);

        var refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(Memory(9L << 30), Token));

        Assert.Equal("NO_ROOM", refused.GetRpcStatus()!.GetDetail<ErrorInfo>().Reason);
        Assert.Contains("memory free", refused.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(64 << 20, (await plane.ViewAsync(Token)).Instance(id)!.Spec.Resources.MemoryBytes);
    }

    /// <summary>Protects: a device goes to nobody while a process may use it, and to nobody twice.</summary>
    [Fact]
    public async Task Devices_change_with_a_restart_and_only_where_there_are_any()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, id) = await RunningAsync(plane, gpus: 2);
        var request = Request(instance => instance.Spec = new() { Resources = new() { Devices = { ["gpu"] = 2 } } }, "spec.resources.devices");

        var refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(request, Token));
        Assert.Equal(["spec.resources.devices"], refused.GetRpcStatus()!.GetDetail<PreconditionFailure>().Violations.Select(violation => violation.Subject));

        request.AllowRestart = true;
        await updates.UpdateAsync(request, Token);
        var view = await plane.ViewAsync(Token);
        Assert.Equal((2, 2), (view.Instance(id)!.PlacementRecord!.Reserved.Devices["gpu"], view.NodeByName("node-a")!.Allocated.Devices["gpu"]));

        // What it has already is no obstacle to it.
        request.Instance.Spec.Resources.Devices["gpu"] = 3;
        refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(request, Token));
        Assert.Contains("has 0 gpu free of the 1 asked for", refused.Status.Detail, StringComparison.Ordinal);
        request.Instance.Spec.Resources.Devices.Clear();
        await updates.UpdateAsync(request, Token);
        Assert.True((await plane.ViewAsync(Token)).NodeByName("node-a")!.Allocated.Devices.IsNone);
    }

    [Fact]
    public async Task Two_that_grow_at_once_never_share_the_same_room()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);
        var other = await plane.PlacedAsync("other", (await plane.ViewAsync(Token)).NodeByName("node-a")!.Id, Token);
        var second = Memory(5L << 30);
        second.Instance.Metadata.Name = "other";

        var outcomes = await Task.WhenAll(new[] { Memory(5L << 30), second }.Select(async request =>
        {
            try
            {
                await updates.UpdateAsync(request, Token);
                return true;
            }
            catch (RpcException exception) when (exception.StatusCode is StatusCode.FailedPrecondition)
            {
                return false;
            }
        }));

        Assert.Single(outcomes, succeeded => succeeded);
        var node = (await plane.ViewAsync(Token)).NodeByName("node-a")!;
        Assert.True(node.Allocated.MemoryBytes <= 8L << 30);
        Assert.Contains(other.Value, node.InstanceUids);
    }

    [Fact]
    public async Task A_smaller_request_gives_room_back()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);

        await updates.UpdateAsync(Memory(8L << 30), Token);
        await updates.UpdateAsync(Memory(32 << 20), Token);

        Assert.Equal(32 << 20, (await plane.ViewAsync(Token)).NodeByName("node-a")!.Allocated.MemoryBytes);
    }

    [Fact]
    public async Task An_update_counts_once_and_on_the_version_it_was_made_for()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, id) = await RunningAsync(plane);
        var request = Memory(128 << 20);
        request.RequestId = "r1";
        request.Instance.Metadata.ResourceVersion = (await plane.ViewAsync(Token)).Instance(id)!.ResourceVersion.Value;

        var first = await updates.UpdateAsync(request, Token);
        Assert.Equal(first.Instance, (await updates.UpdateAsync(request, Token)).Instance);
        request.RequestId = "r2";
        var late = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(request, Token));
        Assert.Equal(StatusCode.Aborted, late.StatusCode);
    }

    [Theory]
    [InlineData("spec.type", "update_mask")]
    [InlineData("spec.image", "update_mask")]
    [InlineData("spec.desired_state", "update_mask")]
    [InlineData("status", "update_mask")]
    [InlineData("metadata.uid", "update_mask")]
    [InlineData("spec.lorry", "update_mask")]
    [InlineData("spec.disks[0].size", "update_mask")]
    [InlineData("", "update_mask")]
    public async Task What_cannot_be_changed_is_named(string path, string field)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);

        var refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(Request(_ => { }, path), Token));

        Assert.Equal([field], refused.GetRpcStatus()!.GetDetail<BadRequest>().FieldViolations.Select(violation => violation.Field));
    }

    [Fact]
    public async Task The_result_is_held_to_the_rules_of_a_create()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (updates, _) = await RunningAsync(plane);

        var refused = await Assert.ThrowsAsync<RpcException>(() => updates.UpdateAsync(Memory(17), Token));

        Assert.Equal(
            ["instance.spec.resources.memory_bytes"],
            refused.GetRpcStatus()!.GetDetail<BadRequest>().FieldViolations.Select(violation => violation.Field));
    }

    private static UpdateInstanceRequest Memory(long bytes) =>
        Request(instance => instance.Spec = new() { Resources = new() { MemoryBytes = bytes } }, "spec.resources.memory_bytes");

    private static UpdateInstanceRequest Request(Action<Instance> wish, params string[] paths)
    {
        var instance = new Instance { Metadata = new() { Name = "web" } };
        wish(instance);
        return new() { Instance = instance, UpdateMask = new() { Paths = { paths } } };
    }

    private static async Task<(InstanceUpdate Updates, InstanceId Id)> RunningAsync(ControlPlane plane, InstanceState state = InstanceState.Running, int gpus = 0)
    {
        var node = await plane.ReadyNodeAsync("node-a", Token, gpus: gpus);
        var id = await plane.PlacedAsync("web", node, Token);
        var epoch = (await plane.ViewAsync(Token)).Instance(id)!.Epoch.Value;
        await plane.PutAsync(
            Hypervisor.Server.Stores.Keys.Status(id),
            new Hypervisor.Server.Stores.Records.StatusRecord { Status = new() { State = state, ObservedEpoch = epoch, ObservedGeneration = 1 } },
            Token);
        var current = new CurrentTerm { Value = new LeaderTerm((await plane.CampaignAsync(Token)).Guard) };
        return (new InstanceUpdate(plane.Reads, plane.Writer, plane.Time, new Resizing(current, plane.Placer)), id);
    }
}
