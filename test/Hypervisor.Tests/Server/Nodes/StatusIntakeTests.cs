using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>Protects: only the holder of the epoch writes status (EpochMonotonic), once; deletion finishes once (IdempotentOnce).</summary>
public sealed class StatusIntakeTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_report_under_the_present_epoch_is_kept_and_its_repetition_writes_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var epoch = plane.State.View.Instance(id)!.Epoch;

        Assert.Equal([ReportResult.Accepted], (await plane.Intake.ReportAsync(node, Report(id, epoch), Token)).Results);
        Assert.Equal(InstanceState.Running, plane.State.View.Instance(id)!.CurrentStatus!.State);
        var before = await plane.Store.GetRevisionAsync(Token);

        Assert.Equal([ReportResult.Accepted], (await plane.Intake.ReportAsync(node, Report(id, epoch), Token)).Results);
        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task What_lies_suspended_is_a_state_that_a_node_may_see()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var request = Report(id, plane.State.View.Instance(id)!.Epoch);
        request.Reports[0].Status.State = InstanceState.Suspended;

        Assert.Equal([ReportResult.Accepted], (await plane.Intake.ReportAsync(node, request, Token)).Results);
        Assert.Equal(InstanceState.Suspended, plane.State.View.Instance(id)!.CurrentStatus!.State);
    }

    [Fact]
    public async Task A_lower_epoch_another_node_and_an_unknown_instance_are_told_apart_from_a_view_that_lags()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var other = await plane.ReadyNodeAsync("b", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var old = plane.State.View.Instance(id)!.Epoch;
        var epoch = await plane.PlaceAsync(id, node, Token);
        var before = await plane.Store.GetRevisionAsync(Token);

        Assert.Equal([ReportResult.Stale], (await plane.Intake.ReportAsync(node, Report(id, old), Token)).Results);
        Assert.Equal([ReportResult.Stale], (await plane.Intake.ReportAsync(other, Report(id, epoch), Token)).Results);
        Assert.Equal([ReportResult.Retry], (await plane.Intake.ReportAsync(node, Report(id, new(epoch.Value + 1)), Token)).Results);
        Assert.Equal([ReportResult.Unknown], (await plane.Intake.ReportAsync(node, Report(new("nobody"), epoch), Token)).Results);
        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task Results_come_in_the_order_of_the_reports_and_the_later_of_two_counts()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var epoch = plane.State.View.Instance(id)!.Epoch;
        var request = Report(id, epoch);
        request.Reports.Add(new StatusReport { Uid = "nobody", Epoch = 1, Status = new() { State = InstanceState.Running } });
        request.Reports.Add(new StatusReport { Uid = id.Value, Epoch = epoch.Value, Status = new() { State = InstanceState.Failed } });

        var results = (await plane.Intake.ReportAsync(node, request, Token)).Results;

        Assert.Equal([ReportResult.Accepted, ReportResult.Unknown, ReportResult.Accepted], results);
        Assert.Equal(InstanceState.Failed, plane.State.View.Instance(id)!.CurrentStatus!.State);
    }

    [Fact]
    public async Task Prose_and_lists_are_cut_to_what_the_store_should_hold()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var request = Report(id, plane.State.View.Instance(id)!.Epoch);
        request.Reports[0].Status.Message = new string('x', 100_000);
        request.Reports[0].Status.IpAddresses.AddRange(Enumerable.Repeat("10.0.0.1", 100));

        await plane.Intake.ReportAsync(node, request, Token);

        var status = plane.State.View.Instance(id)!.CurrentStatus!;
        Assert.Equal(Hypervisor.Server.Limits.Agents.MessageCharacters, status.Message.Length);
        Assert.Equal(Hypervisor.Server.Limits.Agents.Addresses, status.IpAddresses.Count);
    }

    [Fact]
    public async Task More_reports_than_agreed_and_states_that_no_agent_observes_are_refused()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var many = new ReportStatusRequest();
        many.Reports.AddRange(
            Enumerable.Range(0, 257).Select(i => new StatusReport { Uid = $"i{i}", Status = new() { State = InstanceState.Running } }));
        var pending = Report(new("i"), new(1));
        pending.Reports[0].Status.State = InstanceState.Pending;

        foreach (var request in new[] { many, pending })
        {
            var error = await Assert.ThrowsAsync<RpcException>(() => plane.Intake.ReportAsync(node, request, Token));
            Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        }
    }

    [Fact]
    public async Task An_acknowledged_removal_ends_the_deletion_once_and_leaves_a_tombstone()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var epoch = plane.State.View.Instance(id)!.Epoch;
        await plane.Intake.ReportAsync(node, Report(id, epoch), Token);
        await plane.DeleteAsync(id, Token);

        await plane.Intake.ReportAsync(node, Removed(id, epoch), Token);

        Assert.Null(plane.State.View.Instance(id));
        var tombstone = plane.State.View.Tombstone(id)!.Record;
        Assert.Equal(("default", "i", epoch.Value), (tombstone.Project, tombstone.Name, tombstone.Epoch));
        Assert.Equal("create-i", Assert.Single(tombstone.Requests).RequestId);
        var left = await plane.Store.RangeAsync(RangeQuery.Prefix("instances/"), Token);
        Assert.Equal(Keys.Tombstone(id), Assert.Single(left.Items).Key);

        await plane.Intake.ReportAsync(node, Removed(id, epoch), Token);
        Assert.Equal(left.Revision, await plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task An_acknowledgement_of_the_past_or_of_what_nobody_deletes_changes_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var old = plane.State.View.Instance(id)!.Epoch;
        await plane.Intake.ReportAsync(node, Removed(id, old), Token);
        Assert.NotNull(plane.State.View.Instance(id));

        await plane.PlaceAsync(id, node, Token);
        await plane.DeleteAsync(id, Token);
        await plane.Intake.ReportAsync(node, Removed(id, old), Token);

        Assert.NotNull(plane.State.View.Instance(id));
    }

    [Fact]
    public async Task The_list_of_unclaimed_is_kept_and_written_when_it_changed_only()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var request = new ReportStatusRequest { Unclaimed = new() { Instances = { new UnclaimedInstance { Uid = "u", Epoch = 4 } } } };

        await plane.Intake.ReportAsync(node, request, Token);
        var before = await plane.Store.GetRevisionAsync(Token);
        await plane.Intake.ReportAsync(node, request, Token);
        await plane.Intake.ReportAsync(node, new(), Token);

        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
        Assert.Equal("u", Assert.Single(plane.State.View.Node(node)!.RegistrationRecord!.Unclaimed).Uid);
    }

    [Fact]
    public async Task What_a_node_cannot_speak_of_yet_stays_among_the_unclaimed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var vm = new UnclaimedInstance { Uid = "v", Epoch = 4, Type = InstanceType.Vm };
        var container = new UnclaimedInstance { Uid = "c", Epoch = 4, Type = InstanceType.Container };
        var unknown = new UnclaimedInstance { Uid = "a" };
        await plane.Intake.ReportAsync(node, new() { Unclaimed = new() { Instances = { unknown, container, vm } } }, Token);

        var later = new UnclaimedInstance { Uid = "d", Epoch = 5, Type = InstanceType.Container };
        await plane.Intake.ReportAsync(
            node, new() { Unclaimed = new() { Instances = { later }, UnansweredTypes = { InstanceType.Unspecified, InstanceType.Vm } } }, Token);
        Assert.Equal([unknown, later, vm], plane.State.View.Node(node)!.RegistrationRecord!.Unclaimed);

        await plane.Intake.ReportAsync(node, new() { Unclaimed = new() { Instances = { later } } }, Token);
        Assert.Equal([later], plane.State.View.Node(node)!.RegistrationRecord!.Unclaimed);
    }

    [Fact]
    public async Task What_stays_and_what_is_told_fit_into_one_value_of_the_store()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        static UnclaimedInstance Large(string uid, InstanceType type) =>
            new() { Uid = uid, Type = type, Spec = new() { Process = new() { Env = { new EnvVar { Name = "LARGE", Value = new string('x', (Limits.Agents.UnclaimedBytes / 2) + 1) } } } } };
        await plane.Intake.ReportAsync(node, new() { Unclaimed = new() { Instances = { Large("v", InstanceType.Vm) } } }, Token);

        var told = Large("c", InstanceType.Container);
        await plane.Intake.ReportAsync(node, new() { Unclaimed = new() { Instances = { told }, UnansweredTypes = { InstanceType.Vm } } }, Token);

        Assert.Equal([told, new UnclaimedInstance { Uid = "v", Type = InstanceType.Vm }], plane.State.View.Node(node)!.RegistrationRecord!.Unclaimed);
    }

    private static ReportStatusRequest Report(InstanceId id, Epoch epoch) => new()
    {
        Reports = { new StatusReport { Uid = id.Value, Epoch = epoch.Value, Status = new() { State = InstanceState.Running, ObservedGeneration = 1 } } },
    };

    private static ReportStatusRequest Removed(InstanceId id, Epoch epoch) => new()
    {
        Removed = { new Removal { Uid = id.Value, Epoch = epoch.Value } },
    };
}
