using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: a mutation returns when what was asked for is so, says why when it will never be, and gives up in time.</summary>
public sealed class WaitTests
{
    [Fact]
    public async Task Create_waits_until_the_instance_runs_at_its_generation()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending, observed: 0);
        server.Compute.OnWatch = async (request, write, token) =>
        {
            Assert.Equal("uid-web", request.Instance);
            await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Pending, observed: 0)));
            await write(Samples.Bookmark(10));
            // An old run of the same name would look like this: running, but not yet what was asked for.
            await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Running, version: 11, observed: 0)));
            await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Running, version: 12)));
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "create", "web", "--image", "busybox"));

        Assert.Equal("web created: RUNNING on n1 at 10.88.0.5\n", run.Out);
        Assert.Equal("", run.Error);
    }

    [Fact]
    public async Task Progress_is_shown_on_terminals_and_wiped()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending, observed: 0);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Starting, observed: 0)));
            await write(Samples.Change(WatchEventType.Modified, Samples.Instance("web", InstanceState.Running, version: 12)));
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun { ErrorTerminal = true };

        Assert.Equal(0, await run.RunAsync(server, "instance", "create", "web"));

        Assert.StartsWith("\rweb: STARTING\e[K", run.Error, StringComparison.Ordinal);
        Assert.EndsWith("\r\e[K", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_failed_instance_is_exit_code_1_with_the_reason()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending, observed: 0);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            var failed = Samples.Instance("web", InstanceState.Failed, "ImageNotFound", version: 11);
            failed.Status.Message = "There is no image busybox:latest.";
            await write(Samples.Change(WatchEventType.Added, failed));
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "create", "web"));

        Assert.Equal("", run.Out);
        Assert.Contains("error: web is FAILED (ImageNotFound: There is no image busybox:latest).", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Time_up_is_exit_code_4_with_what_it_is_now()
    {
        await using var server = await FakeServer.StartAsync();
        var watching = new TaskCompletionSource();
        server.Compute.OnCreate = request => Samples.Instance(request.Name, InstanceState.Pending, "NoNode", observed: 0);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Pending, "NoNode", observed: 0)));
            watching.SetResult();
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun();

        var running = run.RunAsync(server, "instance", "create", "web", "--timeout", "5s");
        await watching.Task.WaitAsync(TestContext.Current.CancellationToken);
        await run.Time.AdvanceUntilAsync(running, TimeSpan.FromSeconds(5));

        Assert.Equal(4, await running);
        Assert.Contains("web is not RUNNING after 5 s: it is PENDING (NoNode).", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Suspend_waits_until_nothing_of_it_runs()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnChange = name => Suspended(InstanceState.Running, observed: 0);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            await write(Samples.Change(WatchEventType.Added, Suspended(InstanceState.Running, observed: 0)));
            await write(Samples.Change(WatchEventType.Modified, Suspended(InstanceState.Suspended, observed: 1)));
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "suspend", "web"));

        Assert.Equal("web suspended: SUSPENDED on n1\n", run.Out);

        static Instance Suspended(InstanceState state, long observed)
        {
            var instance = Samples.Instance("web", state, observed: observed);
            instance.Spec.DesiredState = DesiredState.Suspended;
            return instance;
        }
    }

    [Fact]
    public async Task Delete_waits_until_it_is_gone()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnChange = name => Samples.Instance(name, InstanceState.Deleting);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            await write(Samples.Change(WatchEventType.Added, Samples.Instance("web", InstanceState.Deleting)));
            await write(Samples.Bookmark(10));
            await write(Samples.Change(WatchEventType.Deleted, Samples.Instance("web", InstanceState.Deleting, version: 12)));
            await Samples.UntilCancelledAsync(token);
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "delete", "web"));

        Assert.Equal("web deleted\n", run.Out);
    }

    [Fact]
    public async Task Delete_is_done_when_the_watch_no_longer_knows_it()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnChange = name => Samples.Instance(name, InstanceState.Deleting);
        server.Compute.OnWatch = (_, _, _) => throw new Grpc.Core.RpcException(new(Grpc.Core.StatusCode.NotFound, "no such instance"));
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "delete", "web"));

        Assert.Equal("web deleted\n", run.Out);
    }

    [Fact]
    public async Task One_refused_instance_does_not_keep_the_others_from_their_turn()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnChange = name => name == "b"
            ? throw new Grpc.Core.RpcException(new(Grpc.Core.StatusCode.NotFound, "There is no instance b."))
            : Samples.Instance(name, InstanceState.Running);
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "stop", "a", "b", "c", "--no-wait"));

        Assert.Equal("a will be stopped\nc will be stopped\n", run.Out);
        Assert.Equal("error: b: There is no instance b.\n", run.Error);
        Assert.Equal(3, server.Compute.Requests.Cast<StopInstanceRequest>().Select(r => r.RequestId).Distinct().Count());
    }
}
