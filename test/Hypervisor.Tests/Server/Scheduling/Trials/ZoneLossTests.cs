using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Scheduling.Trials;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Trials;

/// <summary>Protects: operators are told that the loss of a zone would leave instances without a place before it is lost.</summary>
public sealed class ZoneLossTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_leader_names_the_zone_whose_loss_leaves_most_without_a_node()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        var report = new ZoneLossReport(zones.Plane.Time);
        var controller = new ZoneLossController(zones.Plane.State, report, PlacementStrategy.Spread, zones.Plane.Time);
        await zones.NodeAsync("n1", "a", memoryMiB: 1024);
        await zones.NodeAsync("n2", "b", memoryMiB: 1024);
        await zones.InstanceAsync("first", 600);
        await zones.InstanceAsync("second", 300);
        await zones.PlaceAsync();

        await controller.LookAsync(Token);
        Assert.Equal((ConditionStatus.True, "Spare"), (report.Condition!.Status, report.Condition.Reason));
        Assert.Equal([("a", 1, 0), ("b", 1, 0)], report.Verdicts.Select(verdict => (verdict.Zone.ToString(), verdict.Instances, verdict.Unplaceable)));
        var since = report.Condition.LastTransitionAt;

        await zones.InstanceAsync("third", 600);
        await zones.PlaceAsync();
        await controller.LookAsync(Token);
        Assert.Equal((ConditionStatus.False, "InsufficientResources"), (report.Condition!.Status, report.Condition.Reason));
        Assert.StartsWith("Without zone ", report.Condition.Message, StringComparison.Ordinal);
        Assert.Contains("instances would have no node: 1 node: 1 has", report.Condition.Message, StringComparison.Ordinal);
        Assert.EndsWith(" be lost.", report.Condition.Message, StringComparison.Ordinal);
        Assert.NotEqual(since, report.Condition.LastTransitionAt);

        // Three times as much as was there: also the one zone that is left has room.
        await zones.NodeAsync("n3", "c", memoryMiB: 4096);
        await controller.LookAsync(Token);
        Assert.Equal(ConditionStatus.True, report.Condition!.Status);
    }

    [Fact]
    public async Task It_goes_on_looking_and_says_nothing_more_once_it_no_longer_leads()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        var report = new ZoneLossReport(zones.Plane.Time);
        var controller = new ZoneLossController(zones.Plane.State, report, PlacementStrategy.Spread, zones.Plane.Time);
        await zones.NodeAsync("n1", "a");
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = controller.RunAsync(null!, stop.Token);
        await UntilAsync(() => report.Condition is { Reason: "OneZone" });

        await zones.NodeAsync("n2", "b");
        await UntilAsync(() => report.Condition is { Status: ConditionStatus.True });

        await stop.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        Assert.Null(report.Condition);
        Assert.Empty(report.Verdicts);

        async Task UntilAsync(Func<bool> holds)
        {
            while (!holds())
            {
                Token.ThrowIfCancellationRequested();
                zones.Plane.Time.Advance(TimeSpan.FromSeconds(1));
                await Task.Yield();
            }
        }
    }

    [Fact]
    public void Of_fewer_than_two_zones_nothing_is_known_and_of_too_many_it_is_said()
    {
        Assert.Equal((ConditionStatus.Unknown, "OneZone"), Of([], 0));
        Assert.Equal((ConditionStatus.Unknown, "OneZone"), Of([], 1));
        Assert.Equal((ConditionStatus.True, "Spare"), Of([Verdict("a", 0), Verdict("b", 0)], 2));
        Assert.Equal(
            "Without zone b, 3 of its 5 instances would have no node: all is full. Nor could 2 other zones be lost. Only 3 of 80 zones were looked at, the first by name.",
            ZoneLoss.ConditionOf([Verdict("a", 1), Verdict("b", 3), Verdict("c", 2)], 80).Message);

        static (ConditionStatus, string) Of(IReadOnlyList<ZoneLossVerdict> verdicts, int zones)
        {
            var condition = ZoneLoss.ConditionOf(verdicts, zones);
            return (condition.Status, condition.Reason);
        }
    }

    private static ZoneLossVerdict Verdict(string zone, int unplaceable) => new(new("", zone), 5, unplaceable, "InsufficientResources", "all is full.");
}
