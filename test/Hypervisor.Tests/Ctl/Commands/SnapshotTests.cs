using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: a snapshot command ends when its node has done what was asked, and fails when the node could not.</summary>
public sealed class SnapshotTests
{
    [Fact]
    public async Task Create_waits_until_it_is_taken_whatever_the_instance_does()
    {
        await using var server = await FakeServer.StartAsync();
        Answer(server, status => status.State = SnapshotState.Ready, InstanceState.Failed);
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "snapshot", "create", "web", "s1", "--memory"));

        Assert.Equal(("snapshot s1 of web taken (2MiB)\n", ""), (run.Out, run.Error));
        var request = Assert.IsType<CreateSnapshotRequest>(server.Compute.Requests[0]);
        Assert.Equal(("web", "s1", true), (request.Instance, request.Name, request.Memory));
        Assert.NotEmpty(request.RequestId);
    }

    [Fact]
    public async Task One_that_could_not_be_taken_is_exit_code_1_with_the_reason()
    {
        await using var server = await FakeServer.StartAsync();
        Answer(server, status => (status.State, status.Reason, status.Message) = (SnapshotState.Failed, "DiskFull", "the node's disk is full."), InstanceState.Running);
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "snapshot", "create", "web", "s1"));

        Assert.Contains("snapshot s1 of web was not taken (DiskFull: the node's disk is full).", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_restore_that_was_impossible_is_exit_code_1()
    {
        await using var server = await FakeServer.StartAsync();
        Answer(server, _ => { }, InstanceState.Running, new Condition { Type = "Restored", Status = ConditionStatus.False, Reason = "SnapshotDamaged", Message = "gone" });
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "instance", "snapshot", "restore", "web", "s1"));

        Assert.Contains("web was not put back to s1 (SnapshotDamaged: gone).", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_waiting_it_says_what_will_be()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnChange = name => Samples.Instance(name, InstanceState.Running);
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "snapshot", "delete", "web", "s1", "--no-wait"));
        Assert.Equal(0, await run.RunAsync(server, "instance", "clone", "web", "copy", "--snapshot", "s1", "--label", "a=b", "--no-wait"));

        Assert.Equal("snapshot s1 of web will be deleted\ncopy created\n", run.Out);
        var clone = Assert.IsType<CloneInstanceRequest>(server.Compute.Requests[^1]);
        Assert.Equal(("web", "copy", "s1", "b"), (clone.Instance, clone.Name, clone.Snapshot, clone.Labels["a"]));
    }

    [Fact]
    public async Task List_shows_what_became_of_each()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnListSnapshots = _ => new()
        {
            Snapshots =
            {
                new Snapshot
                {
                    Spec = new() { Name = "s1", Memory = true, CreatedAt = Created },
                    Status = new() { State = SnapshotState.Ready, SizeBytes = 2 << 20 },
                },
                new Snapshot { Spec = new() { Name = "s2", CreatedAt = Created }, Status = new() { State = SnapshotState.Failed, Reason = "DiskFull", Message = "full" } },
                new Snapshot { Spec = new() { Name = "s3", CreatedAt = Created } },
            },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "instance", "snapshot", "list", "web"));

        var rows = run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)));
        Assert.Equal(["NAME STATE MEMORY SIZE AGE MESSAGE", "s1 READY yes 2MiB 5m -", "s2 FAILED (DiskFull) no - 5m full", "s3 CREATING no - 5m -"], rows);
    }

    private static Google.Protobuf.WellKnownTypes.Timestamp Created =>
        Google.Protobuf.WellKnownTypes.Timestamp.FromDateTimeOffset(CtlRun.Now - TimeSpan.FromMinutes(5));

    private static void Answer(FakeServer server, Action<SnapshotStatus> set, InstanceState state, params Condition[] conditions)
    {
        server.Compute.OnChange = _ => Seen(observed: 1);
        server.Compute.OnWatch = async (_, write, token) =>
        {
            await write(Samples.Change(WatchEventType.Added, Seen(observed: 1)));
            await write(Samples.Change(WatchEventType.Modified, Seen(observed: 2)));
            await Samples.UntilCancelledAsync(token);
        };

        Instance Seen(long observed)
        {
            var instance = Samples.Instance("web", state, generation: 2, observed: observed);
            instance.Spec.Snapshots.Add(new SnapshotSpec { Name = "s1", Uid = "u1" });
            if (observed == 2)
            {
                var status = new SnapshotStatus { Uid = "u1", SizeBytes = 2 << 20 };
                set(status);
                instance.Status.Snapshots.Add(status);
                instance.Status.Conditions.Add(conditions);
            }

            return instance;
        }
    }
}
