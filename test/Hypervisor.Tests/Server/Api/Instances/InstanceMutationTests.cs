using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>
/// Protects: changes of what an instance should do happen once, on the version the caller meant, and delete nothing by half.
/// </summary>
public sealed class InstanceMutationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task Stopping_what_is_stopped_and_starting_what_runs_changes_no_generation()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");

        Assert.Equal(1, (await Start(replica)).Metadata.Generation);
        var stopped = await Stop(replica);
        Assert.Equal((2, DesiredState.Stopped), (stopped.Metadata.Generation, stopped.Spec.DesiredState));
        Assert.Equal(stopped, await Stop(replica));
        var started = await Start(replica);
        Assert.Equal((3, 1), (started.Metadata.Generation, started.Spec.RestartGeneration));
    }

    [Fact(Timeout = 60_000)]
    public async Task Starting_what_has_ended_asks_for_another_run_once()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");
        await replica.AddNodeAsync("n1", "alpha");
        await replica.WriteAsync(Replica.Place(created.Metadata.Uid, "n1", 1));
        await replica.WriteAsync(Replica.Report(created.Metadata.Uid, 1, InstanceState.Failed));

        Assert.Equal(1, (await Start(replica)).Spec.RestartGeneration);
        Assert.Equal(1, (await Start(replica)).Spec.RestartGeneration);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_request_that_comes_again_late_does_not_undo_what_came_between()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");
        await Stop(replica);
        await Stop(replica, "late");
        await Start(replica);

        Assert.Equal(DesiredState.Running, (await Stop(replica, "late")).Spec.DesiredState);
        var error = await Assert.ThrowsAsync<RpcException>(() => Start(replica, "late"));
        Assert.Equal(StatusCode.AlreadyExists, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task Restarts_at_once_each_count_and_a_repeated_one_counts_once()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");

        await Task.WhenAll(Enumerable.Range(0, 12).Select(index =>
            replica.Instances.Power.RestartAsync(new() { Instance = "web", RequestId = $"r{index % 6}" }, Cancellation)));

        Assert.Equal(6, replica.State.View.InstanceByName("default", "web")!.Spec.RestartGeneration);
    }

    [Fact(Timeout = 60_000)]
    public async Task Pause_and_resume_are_for_what_should_not_be_stopped()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");

        Assert.Equal(
            DesiredState.Paused, (await replica.Instances.Power.PauseAsync(new() { Instance = "web" }, Cancellation)).Spec.DesiredState);
        Assert.Equal(
            DesiredState.Running, (await replica.Instances.Power.ResumeAsync(new() { Instance = "web" }, Cancellation)).Spec.DesiredState);
        await Stop(replica);
        var error = await Assert.ThrowsAsync<RpcException>(
            () => replica.Instances.Power.ResumeAsync(new() { Instance = "web" }, Cancellation));
        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task Machines_are_suspended_and_go_on_in_the_same_run()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web", more: request => request.Spec.Type = InstanceType.Microvm);

        Assert.Equal(DesiredState.Suspended, (await Suspend(replica)).Spec.DesiredState);
        var resumed = await replica.Instances.Power.ResumeAsync(new() { Instance = "web" }, Cancellation);
        Assert.Equal((DesiredState.Running, 0), (resumed.Spec.DesiredState, resumed.Spec.RestartGeneration));
        await Suspend(replica);
        Assert.Equal(0, (await Start(replica)).Spec.RestartGeneration);
        await Stop(replica);
        var error = await Assert.ThrowsAsync<RpcException>(() => Suspend(replica));
        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task Containers_are_not_suspended_and_the_refusal_says_what_to_do()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");

        var error = await Assert.ThrowsAsync<RpcException>(() => Suspend(replica));

        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Contains("'web' is a container", error.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("pause or stop it", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact(Timeout = 60_000)]
    public async Task Another_version_than_the_caller_s_is_aborted()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");
        var stop = new StopInstanceRequest { Instance = "web", ResourceVersion = created.Metadata.ResourceVersion };
        await replica.Instances.Power.StopAsync(stop, Cancellation);

        var error = await Assert.ThrowsAsync<RpcException>(() => replica.Instances.Power.StopAsync(stop, Cancellation));
        Assert.Equal(StatusCode.Aborted, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task Addresses_are_name_then_uid_then_a_unique_beginning_of_a_uid_in_one_project()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");
        var uid = created.Metadata.Uid;
        foreach (var address in new[] { "web", uid, uid[..8] })
        {
            Assert.Equal(uid, (await Get(replica, address)).Metadata.Uid);
        }

        foreach (var (project, address) in new[] { ("", "webs"), ("other", "web"), ("other", uid), ("other", uid[..8]), ("", uid[..3]) })
        {
            Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(() => Get(replica, address, project))).StatusCode);
        }

        Assert.Equal(StatusCode.InvalidArgument, (await Assert.ThrowsAsync<RpcException>(() => Get(replica, "a\u001b"))).StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task What_was_never_placed_is_gone_at_once_with_all_its_keys()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");

        var deleted = await Delete(replica, "d1");
        Assert.Equal(InstanceState.Deleting, deleted.Status.State);
        Assert.NotNull(deleted.Metadata.DeletedAt);
        var left = await replica.Store.RangeAsync(RangeQuery.Prefix("instances/"), Cancellation);
        Assert.Equal(Keys.Tombstone(new(created.Metadata.Uid)), Assert.Single(left.Items).Key);
        Assert.Equal(created.Metadata.Uid, (await Delete(replica, "d1")).Metadata.Uid);
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(() => Delete(replica, "d2"))).StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task What_was_placed_is_marked_and_waits_for_its_node()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");
        await replica.AddNodeAsync("n1", "alpha");
        await replica.WriteAsync(Replica.Place(created.Metadata.Uid, "n1", 1));

        var deleted = await Delete(replica, "d1");
        Assert.Equal((InstanceState.Deleting, 2), (deleted.Status.State, deleted.Metadata.Generation));
        Assert.Equal(deleted, await Delete(replica, "d2"));
        Assert.Equal(StatusCode.FailedPrecondition, (await Assert.ThrowsAsync<RpcException>(() => Start(replica))).StatusCode);
        Assert.Equal(StatusCode.AlreadyExists, (await Assert.ThrowsAsync<RpcException>(() => replica.CreateAsync("web"))).StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task An_object_remembers_its_last_sixteen_requests()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("web");
        for (var index = 0; index < 20; index++)
        {
            await Stop(replica, $"r{index}");
        }

        var requests = replica.State.View.InstanceByName("default", "web")!.SpecRecord.Requests;
        Assert.Equal(Enumerable.Range(4, 16).Select(index => $"r{index}"), requests.Select(request => request.RequestId));
    }

    private static Task<Instance> Start(Replica replica, string requestId = "") =>
        replica.Instances.Power.StartAsync(new() { Instance = "web", RequestId = requestId }, Cancellation);

    private static Task<Instance> Stop(Replica replica, string requestId = "") =>
        replica.Instances.Power.StopAsync(new() { Instance = "web", RequestId = requestId }, Cancellation);

    private static Task<Instance> Suspend(Replica replica) =>
        replica.Instances.Power.SuspendAsync(new() { Instance = "web" }, Cancellation);

    private static Task<Instance> Delete(Replica replica, string requestId) =>
        replica.Instances.Deletion.DeleteAsync(new() { Instance = "web", RequestId = requestId }, Cancellation);

    private static Task<Instance> Get(Replica replica, string address, string project = "") =>
        replica.Instances.Queries.GetAsync(new() { Instance = address, Project = project }, Cancellation);
}
