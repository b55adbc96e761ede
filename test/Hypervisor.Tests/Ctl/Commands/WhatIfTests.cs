using System.Text;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: what is asked is what was typed, and of the answer nothing that matters is left out.</summary>
public sealed class WhatIfTests
{
    private const string Web = """
        metadata: {name: web, labels: {app: web}}
        spec: {type: container, image: busybox}
        """;

    private static WhatIfResponse Answer => WhatIfResponse.Parser.ParseJson("""
        {"nodesLost":1,"nodesTotal":2,
         "displaced":{"instances":3,"fitting":1,"examples":[{"instance":"default/a","node":"n2"}],
          "refusals":[{"instances":2,"reason":"NoFittingNode","message":"2 nodes: 2 are not in zone b","examples":["default/b"],"remedies":[{"text":"allow another zone than b (2 nodes)"}]}]},
         "waiting":{},
         "zones":[{"zone":"a","nodesBefore":1,"nodesAfter":1,"freeBefore":{"cpuMillicores":"2000","memoryBytes":"1073741824"},
                   "freeAfter":{"cpuMillicores":"1500","memoryBytes":"536870912"}},
                  {"region":"eu","zone":"b","nodesBefore":1,"nodesAfter":0,"freeBefore":{"cpuMillicores":"100"},"freeAfter":{}}],
         "zonesTotal":300}
        """);

    [Fact]
    public async Task Everything_that_is_lost_added_and_placed_is_asked_at_once()
    {
        await using var server = await FakeServer.StartAsync();
        using var run = new CtlRun { Input = Encoding.UTF8.GetBytes(Web) };

        var exitCode = await run.RunAsync(
            server, "cluster", "what-if", "--lose", "zone=b", "--lose", "region=eu", "--lose", "node=n1", "--lose", "zone=us/c",
            "--add", "10", "--like", "n1", "--add", "2", "--like", "n2@us/c", "--place", "-", "--count", "500", "--stale", "--project", "p");

        Assert.True(exitCode == 0, run.Error);
        var asked = server.Cluster.WhatIfAsked!;
        Assert.Equal((["b", "us/c"], ["eu"], ["n1"]), (asked.LoseZones.ToArray(), asked.LoseRegions.ToArray(), asked.LoseNodes.ToArray()), Texts);
        Assert.Equal([(10, "n1", "", ""), (2, "n2", "us", "c")], asked.Add.Select(added => (added.Count, added.Like, added.Region, added.Zone)));
        var placed = Assert.Single(asked.Place);
        Assert.Equal((500, "p", "web", "busybox"), (placed.Count, placed.Project, placed.Labels["app"], placed.Spec.Image));
        Assert.Equal(Consistency.Stale, asked.Consistency);
    }

    [Fact]
    public async Task The_answer_is_shown_with_reasons_and_what_helps()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.WhatIfAnswer = Answer;
        using var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "cluster", "what-if", "--lose", "zone=b"));

        Assert.Equal(
            """
            1 node lost, 0 added: 2 nodes then.

            INSTANCES   COUNT   FIT   DO NOT
            displaced   3       1     2

            2 of displaced: 2 nodes: 2 are not in zone b
              default/b, ...
              would help: allow another zone than b (2 nodes)

            ZONE   NODES    FREE CPUS   FREE MEMORY      FREE DISK
            a      1        2 -> 1.5    1GiB -> 512MiB   0B
            eu/b   1 -> 0   0.1 -> 0    0B               0B
            ... and 298 more zones

            """,
            run.Out);
    }

    [Fact]
    public async Task Programs_get_the_answer_itself_and_names_those_without_a_place()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.WhatIfAnswer = Answer;
        using var json = new CtlRun();
        using var names = new CtlRun();

        await json.RunAsync(server, "cluster", "what-if", "--lose", "zone=b", "-o", "json");
        await names.RunAsync(server, "cluster", "what-if", "--lose", "zone=b", "-o", "name");

        Assert.Equal(Answer, WhatIfResponse.Parser.ParseJson(json.Out));
        Assert.Equal("default/b\n", names.Out);
    }

    [Theory]
    [InlineData("--lose b", "--lose: 'b' does not say what is lost.")]
    [InlineData("--lose zone=", "--lose: 'zone=' does not say what is lost.")]
    [InlineData("--lose rack=1", "Write zone=NAME, region=NAME or node=NAME")]
    [InlineData("--add 3", "--add is given 1 times and --like 0 times.")]
    [InlineData("--place a --place b --count 3", "--place is given 2 times and --count 1 times.")]
    public async Task What_does_not_belong_together_is_refused_before_it_is_asked(string words, string error)
    {
        await using var server = await FakeServer.StartAsync();
        using var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, ["cluster", "what-if", .. words.Split(' ')]));

        Assert.Contains(error, run.Error, StringComparison.Ordinal);
        Assert.Null(server.Cluster.WhatIfAsked);
    }

    private static bool Texts((string[] Zones, string[] Regions, string[] Nodes) expected, (string[] Zones, string[] Regions, string[] Nodes) actual) =>
        expected.Zones.SequenceEqual(actual.Zones) && expected.Regions.SequenceEqual(actual.Regions) && expected.Nodes.SequenceEqual(actual.Nodes);
}
