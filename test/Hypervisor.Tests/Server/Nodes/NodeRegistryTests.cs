using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Stores;
using Hypervisor.Tests.Server.State;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>
/// Protects: a name, a secret and a subnet belong to one machine; a node leaves only when nothing is on it or it is fenced.
/// </summary>
public sealed class NodeRegistryTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_new_machine_gets_a_uid_a_secret_a_subnet_and_its_lease()
    {
        await using var plane = await ControlPlane.StartAsync(Token);

        var first = await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);
        var second = await plane.Registry.RegisterAsync(ControlPlane.Registration("b"), Token);

        Assert.Equal(64, first.Credential.Length);
        Assert.NotEqual(first.Credential, second.Credential);
        Assert.Equal("10.128.0.0/24", first.Node.Status.Subnet);
        Assert.Equal("10.128.1.0/24", second.Node.Status.Subnet);
        Assert.Equal(NodeScheduling.Schedulable, first.Node.Spec.Scheduling);
        Assert.Equal(ControlPlane.Terms.Lease, first.LeaseDuration.ToTimeSpan());
        Assert.DoesNotContain(first.Credential, first.Node.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Machines_that_come_at_once_never_share_a_subnet()
    {
        await using var plane = await ControlPlane.StartAsync(Token);

        var all = await Task.WhenAll(
            Enumerable.Range(0, 6).Select(i => plane.Registry.RegisterAsync(ControlPlane.Registration($"n{i}"), Token)));

        Assert.Equal(6, all.Select(response => response.Node.Status.Subnet).Distinct().Count());
    }

    [Fact]
    public async Task Registering_again_without_a_change_writes_nothing_and_answers_the_same()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var first = await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);
        var before = await plane.Store.GetRevisionAsync(Token);

        var again = await plane.Registry.RegisterAsync(ControlPlane.Registration("a", credential: first.Credential), Token);

        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
        Assert.Equal(first, again);
    }

    [Fact]
    public async Task Registering_again_renews_what_the_machine_offers()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var first = await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);

        var again = await plane.Registry.RegisterAsync(
            ControlPlane.Registration("a", memoryBytes: 1 << 30, credential: first.Credential), Token);

        Assert.Equal(1 << 30, again.Node.Status.Inventory.Capacity.MemoryBytes);
        Assert.Equal(first.Node.Metadata.Uid, again.Node.Metadata.Uid);
        Assert.Equal(first.Node.Status.Subnet, again.Node.Status.Subnet);
    }

    [Fact]
    public async Task A_first_registration_whose_answer_was_lost_is_answered_again_alike()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var first = await plane.Registry.RegisterAsync(ControlPlane.Registration("a", registrationId: "chosen"), Token);
        var before = await plane.Store.GetRevisionAsync(Token);

        var again = await plane.Registry.RegisterAsync(ControlPlane.Registration("a", registrationId: "chosen"), Token);

        Assert.Equal(first, again);
        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
        Assert.DoesNotContain("chosen", again.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_return_after_deregistration_whose_answer_was_lost_is_answered_again_alike()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var old = await plane.Registry.RegisterAsync(ControlPlane.Registration("a", registrationId: "chosen"), Token);
        await plane.Registry.DeregisterAsync("a", fenced: true, Token);
        var first = await plane.Registry.RegisterAsync(
            ControlPlane.Registration("a", credential: old.Credential, registrationId: "chosen"), Token);

        var again = await plane.Registry.RegisterAsync(
            ControlPlane.Registration("a", credential: old.Credential, registrationId: "chosen"), Token);

        Assert.Equal(first, again);
        Assert.NotEqual(old.Node.Metadata.Uid, again.Node.Metadata.Uid);
    }

    [Theory]
    [InlineData("", "another")]
    [InlineData("", "")]
    [InlineData("wrong", "another")]
    public async Task Neither_another_registration_nor_a_wrong_credential_gets_a_taken_name(string credential, string registrationId)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.Registry.RegisterAsync(ControlPlane.Registration("a", registrationId: "chosen"), Token);

        var error = await Assert.ThrowsAsync<RpcException>(() => plane.Registry.RegisterAsync(
            ControlPlane.Registration("a", credential: credential, registrationId: registrationId), Token));

        Assert.Equal(StatusCode.AlreadyExists, error.StatusCode);
    }

    [Theory]
    [InlineData("")]
    [InlineData("wrong")]
    public async Task A_taken_name_is_refused_with_the_remedy(string credential)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);

        var error = await Assert.ThrowsAsync<RpcException>(
            () => plane.Registry.RegisterAsync(ControlPlane.Registration("a", credential: credential), Token));

        Assert.Equal(StatusCode.AlreadyExists, error.StatusCode);
        Assert.Contains("hypervisor-ctl node delete a", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Everything_wrong_with_a_registration_is_answered_at_once()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var request = ControlPlane.Registration("Not_A_Label");
        request.Labels["-bad"] = "x";
        request.Inventory.Capacity.MemoryBytes = -1;
        request.Inventory.KernelVersion = "6.1\u001b[31m";

        var error = await Assert.ThrowsAsync<RpcException>(() => plane.Registry.RegisterAsync(request, Token));

        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        var fields = error.GetRpcStatus()!.GetDetail<Google.Rpc.BadRequest>()!.FieldViolations.Select(violation => violation.Field);
        Assert.Equal(["name", "labels[-bad]", "inventory.kernel_version", "inventory.capacity.memory_bytes"], fields);
    }

    [Fact]
    public async Task A_node_that_holds_instances_is_not_deregistered_and_five_are_named()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        for (var i = 0; i < 7; i++)
        {
            await plane.PlacedAsync($"i{i}", node, Token);
        }

        var error = await Assert.ThrowsAsync<RpcException>(() => plane.Registry.DeregisterAsync("a", fenced: false, Token));

        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Contains("and 2 more", error.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("hypervisor-ctl node delete a --fenced", error.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(NodeScheduling.Schedulable, (await plane.ViewAsync(Token)).Node(node)!.Scheduling);
    }

    [Fact]
    public async Task A_deregistration_that_an_instance_overtakes_leaves_the_node_schedulable()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var placed = new TaskCompletionSource();
        var store = new FaultyStore(plane.Store) { WritesHeld = placed.Task };
        await using var writer = new StoreWriter(store);
        var registry = new NodeRegistry(
            plane.Reads, writer, plane.Incarnations, plane.Beats, ControlPlane.Terms, new ServerNetworkConfiguration(), plane.Random, plane.Time,
            NullLogger<NodeRegistry>.Instance);

        var deregistering = registry.DeregisterAsync("a", fenced: false, Token);
        await store.WriteArrived;
        await plane.PlacedAsync("i", node, Token);
        placed.SetResult();
        var error = await Assert.ThrowsAsync<RpcException>(() => deregistering);

        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Equal(NodeScheduling.Schedulable, (await plane.ViewAsync(Token)).Node(node)!.Scheduling);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public async Task An_empty_or_fenced_node_goes_with_everything_it_held(bool fenced, bool holds)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        if (holds)
        {
            await plane.PlacedAsync("i", node, Token);
        }

        await plane.Registry.DeregisterAsync("a", fenced, Token);

        var view = await plane.ViewAsync(Token);
        Assert.Null(view.Node(node));
        Assert.Empty(view.Subnets);
        var again = await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);
        Assert.NotEqual(node.Value, again.Node.Metadata.Uid);
    }

    [Fact]
    public async Task A_placement_decided_before_the_deregistration_is_refused()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token);
        await plane.PendingAsync("i", Token);
        await plane.ViewAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var plan = plane.Placer.PlanNext(new(leadership.Guard))!.Plan!;

        await plane.Registry.DeregisterAsync("a", fenced: false, Token);

        Assert.False((await plane.Writer.WriteAsync(new(plan.Guards, plan.Operations), Token)).Succeeded);
    }

    [Fact]
    public async Task A_known_node_that_remembers_more_than_the_store_holds_raises_the_incarnation_above_it()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var known = await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);
        var request = ControlPlane.Registration("a", credential: known.Credential);
        request.HighestResourceVersion = ResourceVersion.Of(new(3), 1000).Value;
        request.HighestEpoch = Epoch.After(Epoch.None, new(4)).Value;

        var answer = await plane.Registry.RegisterAsync(request, Token);

        Assert.Equal(5, plane.State.Incarnation.Value);
        Assert.NotNull(answer.Node);
        Assert.True(plane.State.View.ResourceVersion.Value > request.HighestResourceVersion);
    }

    [Theory]
    [InlineData("")]
    [InlineData("wrong")]
    public async Task Whoever_claims_a_taken_name_without_its_secret_raises_nothing(string credential)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token);
        var request = ControlPlane.Registration("a", credential: credential);
        request.HighestResourceVersion = ResourceVersion.Of(new(3), 1000).Value;

        var error = await Assert.ThrowsAsync<RpcException>(() => plane.Registry.RegisterAsync(request, Token));

        Assert.Equal(StatusCode.AlreadyExists, error.StatusCode);
        Assert.Equal(1, plane.State.Incarnation.Value);
    }

    [Fact]
    public async Task A_new_machine_is_taken_in_whatever_it_remembers_and_raises_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var request = ControlPlane.Registration("a");
        request.HighestResourceVersion = ResourceVersion.Of(new(3), 1000).Value;
        request.HighestEpoch = Epoch.After(Epoch.None, new(4)).Value;

        var answer = await plane.Registry.RegisterAsync(request, Token);

        Assert.NotEmpty(answer.Credential);
        Assert.Equal(1, plane.State.Incarnation.Value);
    }

    [Fact]
    public async Task An_incarnation_far_above_the_present_one_is_not_believed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var request = ControlPlane.Registration("a");
        request.HighestEpoch = long.MaxValue;

        var error = await Assert.ThrowsAsync<RpcException>(() => plane.Registry.RegisterAsync(request, Token));

        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        Assert.Equal(1, plane.State.Incarnation.Value);
    }
}
