using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: nobody moves instances who did not say so, and of what is moved, and what is not, nothing is left out.</summary>
public sealed class RebalanceTests
{
    [Fact]
    public async Task What_is_asked_is_what_was_typed()
    {
        await using var server = await FakeServer.StartAsync();
        using var run = new CtlRun();

        var exitCode = await run.RunAsync(
            server, "cluster", "rebalance", "--apply", "--max-moves", "7", "--min-gain", "0.2", "--objective", "binpack");

        Assert.True(exitCode == 0, run.Error);
        Assert.Equal(
            new RebalanceRequest { Apply = true, MaxMoves = 7, MinGain = 0.2, Objective = PlacementStrategy.Binpack }, server.Cluster.RebalanceAsked);
    }

    [Theory]
    [InlineData]
    [InlineData("--apply", "--dry-run")]
    public async Task Whether_to_move_has_to_be_said(params string[] flags)
    {
        await using var server = await FakeServer.StartAsync();
        using var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, ["cluster", "rebalance", .. flags]));
        Assert.Contains("Either --dry-run or --apply has to be given.", run.Error, StringComparison.Ordinal);
        Assert.Null(server.Cluster.RebalanceAsked);
    }

    [Fact]
    public async Task Moves_are_shown_with_their_gain_and_what_is_not_moved_with_its_reason()
    {
        await using var server = await FakeServer.StartAsync();
        server.Cluster.RebalanceAnswer = RebalanceResponse.Parser.ParseJson("""
            {"moves":[{"instance":"default/a","from":"n1","to":"n2","scoreBefore":-1,"scoreAfter":0.75,"gain":1.75,"applied":true},
                      {"instance":"default/b","from":"n1","to":"n2","scoreBefore":0.5,"scoreAfter":0.625,"gain":0.125,"message":"It has changed meanwhile; ask again."}],
             "instances":9,"underWay":1,"hindrances":[{"reason":"LocalDisk","message":"They have a local disk, which is on their node.","instances":3}],
             "before":{"nodes":2,"emptyNodes":1,"utilisation":0.25,"deviation":0.25},"after":{"nodes":2,"utilisation":0.25,"deviation":0.05}}
            """);
        using var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "cluster", "rebalance", "--apply"));

        Assert.Equal(
            """
            INSTANCE    FROM   TO   SCORE                      GAIN   MOVES
            default/a   n1     n2   breaks its rules -> 0.75   1.75   yes
            default/b   n1     n2   0.50 -> 0.63               0.13   no: It has changed meanwhile; ask again.

            Empty nodes 1 -> 0 of 2; utilisation 25.0 %, deviation 25.0 % -> 5.0 %.
            Of earlier calls 1 move is under way.
            Not moved, 3: They have a local disk, which is on their node.

            """,
            run.Out);
    }
}
