using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: unclaimed instances can be listed over all nodes, adopted and purged by name, each request with an id of its own.</summary>
public sealed class UnclaimedTests
{
    [Fact]
    public async Task They_are_listed_over_all_nodes()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.OnList = _ => new()
        {
            Nodes =
            {
                new Node { Metadata = new() { Name = "n1" }, Status = new() },
                new Node
                {
                    Metadata = new() { Name = "n2" },
                    Status = new()
                    {
                        Unclaimed =
                        {
                            new UnclaimedInstance
                            {
                                Uid = "u1", Name = "web", Project = "default", Type = InstanceType.Container, State = InstanceState.Running, Adoptable = true,
                            },
                            new UnclaimedInstance { Uid = "u2", Type = InstanceType.Container },
                        },
                    },
                },
            },
        };
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "list", "--unclaimed"));

        Assert.Equal(
            """
            NODE   INSTANCE      TYPE        STATE       ADOPTABLE   UID
            n2     default/web   container   RUNNING     yes         u1
            n2     -             container   half-made   no          u2

            """,
            run.Out);
    }

    [Fact]
    public async Task Watching_them_is_refused_as_usage()
    {
        await using var server = await FakeServer.StartAsync();
        Assert.Equal(2, await new CtlRun().RunAsync(server, "node", "list", "--unclaimed", "--watch"));
    }

    [Fact]
    public async Task Each_named_one_is_adopted_by_a_request_of_its_own()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "adopt", "n2", "web", "db"));

        Assert.Equal("default/web adopted\ndefault/db adopted\n", run.Out);
        var requests = server.Cluster.Settled.Cast<AdoptInstanceRequest>().ToList();
        Assert.Equal([("n2", "web"), ("n2", "db")], requests.Select(request => (request.Node, request.Instance)));
        Assert.Equal(2, requests.Select(request => request.RequestId).Distinct().Count());
    }

    [Fact]
    public async Task A_purge_says_what_is_purged()
    {
        await using var server = await FakeServer.StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "purge", "n2", "web"));

        Assert.Equal("default/web (u7) is purged as soon as the node hears of it\n", run.Out);
        Assert.NotEmpty(Assert.IsType<PurgeInstanceRequest>(server.Cluster.Settled.Single()).RequestId);
    }
}
