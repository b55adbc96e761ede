using System.Text;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: the words about groups reach the server as they are meant, and a command ends when the group is as asked or cannot be.</summary>
public sealed class GroupTests
{
    [Fact]
    public async Task Create_takes_flags_of_members_and_of_the_group_and_waits_until_it_is_complete()
    {
        await using var server = await FakeServer.StartAsync();
        var looks = 0;
        server.Groups.OnChange = name => Sample(name, ready: 0, "Scaling");
        server.Groups.OnGet = name => looks++ == 0 ? Sample(name, ready: 2, "Scaling") : Sample(name, ready: 3, "Complete");
        using var run = new CtlRun { Clock = new ImpatientTime() };

        var exitCode = await run.RunAsync(
            server, "group", "create", "web", "--count", "3", "--gang", "--type", "container", "--image", "busybox", "--label", "app=web",
            "--spread", "@zone:2", "--anti-affinity", "@node", "--max-surge", "2", "--max-unavailable", "1", "--min-ready", "3s",
            "--progress-deadline", "1m", "--max-disrupted", "1", "--", "sleep", "1h");

        Assert.Equal((0, "web created: 3 of 3 members ready\n", ""), (exitCode, run.Out, run.Error));
        var request = Assert.IsType<CreateGroupRequest>(server.Groups.Requests[0]);
        Assert.Equal(("web", 3, true), (request.Name, request.Spec.Count, request.Spec.Gang));
        Assert.Equal((2, 1, 3, 60), (
            request.Spec.Update.MaxSurge, request.Spec.Update.MaxUnavailable, request.Spec.Update.MinReady.Seconds, request.Spec.Update.ProgressDeadline.Seconds));
        Assert.Equal(1, request.Spec.Disruption.MaxUnavailable);
        Assert.Equal("web", request.Spec.Template.Labels["app"]);
        var spec = request.Spec.Template.Spec;
        Assert.Equal((InstanceType.Container, "busybox"), (spec.Type, spec.Image));
        Assert.Equal(["sleep", "1h"], spec.Process.Args);
        Assert.Equal(new SpreadConstraint { Topology = "zone", MaxSkew = 2 }, spec.Constraints.Spread.Single());
        Assert.Equal(new AffinityTerm { Topology = "node" }, spec.Constraints.AntiAffinity.Single());
        Assert.NotEmpty(request.RequestId);
        Assert.Equal(2, looks);
    }

    [Fact]
    public async Task One_that_does_not_get_on_is_exit_code_1_with_the_reason()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.OnChange = name => Sample(name, ready: 3, "Updating");
        server.Groups.OnGet = name => Sample(name, ready: 3, "Stalled", ConditionStatus.False, "web-1 is FAILED.");
        using var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(1, await run.RunAsync(server, "group", "rollback", "web", "--revision", "4"));

        Assert.Contains("web does not get on (Stalled: web-1 is FAILED).", run.Error, StringComparison.Ordinal);
        Assert.Equal(4, Assert.IsType<RollBackGroupRequest>(server.Groups.Requests[0]).Revision);
    }

    [Fact]
    public async Task One_that_takes_too_long_is_exit_code_4_with_what_it_has()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.OnChange = name => Sample(name, ready: 1, "Scaling");
        server.Groups.OnGet = server.Groups.OnChange;
        using var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(4, await run.RunAsync(server, "group", "scale", "web", "--count", "3", "--timeout", "5s"));

        Assert.Contains("web is not complete after 5 s: 1 of 3 members ready.", run.Error, StringComparison.Ordinal);
        Assert.Equal(3, Assert.IsType<ScaleGroupRequest>(server.Groups.Requests[0]).Count);
    }

    [Fact]
    public async Task Delete_waits_until_nothing_is_left()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.OnChange = name => Sample(name, ready: 1, "Complete");
        server.Groups.OnGet = _ => throw new RpcException(new Status(StatusCode.NotFound, "gone"));
        using var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(0, await run.RunAsync(server, "group", "delete", "web", "api", "--orphan"));

        Assert.Equal("web deleted\napi deleted\n", run.Out);
        Assert.All(server.Groups.Requests.OfType<DeleteGroupRequest>(), request => Assert.True(request.Orphan));
    }

    [Fact]
    public async Task Update_sends_the_template_with_its_change_bound_to_the_version_that_was_read()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.OnGet = name => Sample(name, ready: 3, "Complete");
        server.Groups.OnChange = server.Groups.OnGet;
        using var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "group", "update", "web", "--image", "nginx", "--count", "5", "--no-wait"));

        Assert.Equal("web will be updated\n", run.Out);
        var request = server.Groups.Requests.OfType<UpdateGroupRequest>().Single();
        Assert.Equal(["spec.count", "spec.template"], request.UpdateMask.Paths);
        Assert.Equal((7, "nginx", InstanceType.Container, 5), (
            request.Group.Metadata.ResourceVersion, request.Group.Spec.Template.Spec.Image, request.Group.Spec.Template.Spec.Type, request.Group.Spec.Count));
        Assert.Equal(2, await run.RunAsync(server, "group", "update", "web"));
    }

    [Fact]
    public async Task Files_are_groups_as_get_prints_them()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.OnGet = name => Sample(name, ready: 3, "Complete");
        server.Groups.OnChange = server.Groups.OnGet;
        using var printed = new CtlRun();
        Assert.Equal(0, await printed.RunAsync(server, "group", "get", "web", "-o", "yaml"));
        using var run = new CtlRun { Input = Encoding.UTF8.GetBytes(printed.Out) };

        Assert.Equal(0, await run.RunAsync(server, "group", "create", "-f", "-", "--no-wait"));

        var request = server.Groups.Requests.OfType<CreateGroupRequest>().Single();
        Assert.Equal(("web", Sample("web", 3, "Complete").Spec), (request.Name, request.Spec));

        using var wrong = new CtlRun { Input = "metadata: {name: web}\nspec:\n  cuont: 3\n"u8.ToArray() };
        Assert.Equal(2, await wrong.RunAsync(server, "group", "create", "-f", "-"));
        Assert.Contains("stdin:3: spec.cuont: is not a field; known here: count", wrong.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tables_show_what_there_is_and_what_is_missing()
    {
        await using var server = await FakeServer.StartAsync();
        server.Groups.Listed = [Sample("api", 2, "Stalled", ConditionStatus.False), Sample("web", 3, "Complete")];
        server.Groups.OnGet = name => Sample(name, ready: 2, "Stalled", ConditionStatus.False, "It stands still.");
        server.Groups.Receipt = new()
        {
            Message = "3 of 3 members: 2 on 1 node, 2 ready",
            Places = { new GroupPlace { Node = "n1", Region = "here", Zone = "a", Members = 2 } },
            Waiting = { new GroupWait { Reason = "NoFittingNode", Message = "3 nodes: 3 are cordoned", Members = 1, Examples = { "web-3" } } },
        };
        server.Groups.Revisions = [new() { Revision = 2, Members = 3, Template = Sample("web", 3, "").Spec.Template }];
        using var run = new CtlRun();

        foreach (var words in new[] { "list", "get web", "why web", "history web" })
        {
            Assert.Equal(0, await run.RunAsync(server, ["group", .. words.Split(' ')]));
        }

        Assert.Equal(
            """
            NAME   READY   UPDATED   STATUS     TYPE        IMAGE     AGE
            api    2/3     3         STALLED    container   busybox   5m
            web    3/3     3         COMPLETE   container   busybox   5m
            Name:      web
            Project:   default
            Uid:       uid-web
            Members:   2 of 3 members ready
            Revision:  1
            Type:      container
            Image:     busybox
            Update:    1 more, 0 fewer available
            Created:   2026-11-23T11:55:00Z (5m ago)
              Progressing: FALSE Stalled It stands still.
            3 of 3 members: 2 on 1 node, 2 ready

            NODE   ZONE     MEMBERS
            n1     here/a   2

            WAITING   REASON          EXAMPLES   MESSAGE
            1         NoFittingNode   web-3      3 nodes: 3 are cordoned
            REVISION   MEMBERS   IMAGE     ARGUMENTS   WANTED
            2          3         busybox   sleep 1h    -

            """,
            run.Out);
    }

    /// <summary>Protects: members become ready without a new version of their group, and are shown nevertheless.</summary>
    [Fact]
    public async Task A_watch_appends_a_line_for_every_change_also_of_a_number()
    {
        await using var server = await FakeServer.StartAsync();
        var asked = new List<WatchGroupsRequest>();
        server.Groups.OnWatch = async (request, write) =>
        {
            asked.Add(request);
            await write(new() { Type = WatchEventType.Added, Group = Sample("web", 1, "Scaling") });
            await write(new() { Type = WatchEventType.Bookmark, ResourceVersion = 20 });
            await write(new() { Type = WatchEventType.Modified, Group = Sample("web", 2, "Scaling"), ResourceVersion = 21 });
            await write(new() { Type = WatchEventType.Modified, Group = Sample("web", 2, "Scaling"), ResourceVersion = 22 });
            await write(new() { Type = WatchEventType.Modified, Group = Sample("web", 3, "Complete"), ResourceVersion = 23 });
            await write(new() { Type = WatchEventType.Deleted, Group = Sample("web", 0, "Complete"), ResourceVersion = 24 });
            throw new RpcException(new(StatusCode.PermissionDenied, "enough"));
        };
        using var run = new CtlRun { Clock = new ImpatientTime() };

        Assert.Equal(1, await run.RunAsync(server, "group", "list", "--watch", "-l", "app=web", "-A"));

        Assert.Equal(("-", "app=web", 0), (asked[0].Project, asked[0].LabelSelector, asked[0].ResourceVersion));
        Assert.Equal(
            """
            PROJECT   NAME   READY   UPDATED   STATUS    TYPE        IMAGE     AGE
            default   web    1/3     3         SCALING   container   busybox   5m
            default   web    2/3     3         SCALING   container   busybox   5m
            default   web    3/3     3         COMPLETE   container   busybox   5m
            default   web    0/3     3         DELETED   container   busybox   5m

            """,
            run.Out);
    }

    private static Group Sample(string name, int ready, string progress, ConditionStatus status = ConditionStatus.True, string message = "") => new()
    {
        Metadata = new()
        {
            Name = name,
            Project = "default",
            Uid = $"uid-{name}",
            Generation = 2,
            ResourceVersion = 7,
            CreatedAt = Google.Protobuf.WellKnownTypes.Timestamp.FromDateTimeOffset(CtlRun.Now - TimeSpan.FromMinutes(5)),
        },
        Spec = new()
        {
            Count = 3,
            Update = new() { MaxSurge = 1 },
            Template = new() { Spec = new() { Type = InstanceType.Container, Image = "busybox", Process = new() { Args = { "sleep", "1h" } } } },
        },
        Status = new()
        {
            Desired = 3,
            Current = 3,
            Ready = ready,
            Updated = 3,
            Revision = 1,
            ObservedGeneration = 2,
            Conditions = { new Condition { Type = "Progressing", Status = status, Reason = progress, Message = message } },
        },
    };
}
