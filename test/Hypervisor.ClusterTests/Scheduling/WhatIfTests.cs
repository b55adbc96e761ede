using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>Protects: on real machines, who asks what would be lost, or what would help, is told what is true, and asking disturbs nothing.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class WhatIfTests(ThreeZones fixture) : IClassFixture<ThreeZones>, IAsyncLifetime
{
    private readonly CommandLine _ctl = new(fixture.Cluster);

    private LocalCluster Cluster => fixture.Cluster;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync() => await fixture.ClearAsync();

    /// <summary>Protects: what a zone's loss would leave without a place is named before it is lost, by who is asked and without being asked.</summary>
    [Fact]
    public async Task A_zone_that_may_be_lost_names_what_would_have_no_place()
    {
        await CreateAsync("moves", "--preferred-zone", "b");
        await CreateAsync("here", "--zone", "b");
        await CreateAsync("elsewhere", "--zone", "c");
        var machine = Cluster.Machines.Single(machine => machine.Hostname == "n2");
        var before = await Task.WhenAll(new[] { "moves", "here" }.Select(name => Cluster.RunningAsync(name)));
        Assert.All(before, instance => Assert.Equal("n2", instance.Placement.Node));
        await Cluster.RunningAsync("elsewhere");
        var processes = before.Select(machine.ProcessOf).ToList();

        var told = await _ctl.RunAsync("cluster", "what-if", "--lose", "zone=b");

        Assert.Contains("1 node lost, 0 added: 2 nodes then.", told, StringComparison.Ordinal);
        Assert.Matches(Line("displaced +2 +1 +1"), told);
        Assert.Contains("1 of displaced: 2 nodes: 2 are not in zone b\n  default/here\n  would help: allow another zone than b (2 nodes)\n", told, StringComparison.Ordinal);
        Assert.Matches(Line("here/b +1 -> 0 .*"), told);

        var added = await _ctl.RunAsync("cluster", "what-if", "--lose", "zone=b", "--add", "1", "--like", "n2");
        Assert.Matches(Line("displaced +2 +2 +0"), added);

        await RealTime.UntilAsync("the leader names both zones", TimeSpan.FromSeconds(60), async () =>
            (await _ctl.RunAsync("cluster", "info")).Contains("ZoneLossTolerated False (NoFittingNode): Without zone here/b, 1 of its 2 instances", StringComparison.Ordinal));
        Assert.Equal(processes, before.Select(machine.ProcessOf));
    }

    /// <summary>Protects: an instance that waits says what would help, and each of it helps.</summary>
    [Fact]
    public async Task What_is_said_to_help_helps()
    {
        await _ctl.RunAsync("node", "cordon", "n2");
        await CreateAsync("waits", "--zone", "b");
        await _ctl.RunAsync("node", "taint", "n3", "gpu=a100:no-schedule");
        await CreateAsync("fast", "--zone", "c");
        await CreateAsync("fussy", "--zone", "a", "--node-selector", "disk=ssd");
        foreach (var (name, remedy) in new[]
        {
            ("waits", "uncordon n2"), ("fast", "tolerate the taint gpu=a100:no-schedule (n3)"), ("fussy", "add the label disk=ssd to n1"),
        })
        {
            await Cluster.InstanceAsync(name, "is refused", instance => instance.Placement is { Reason: "NoFittingNode" });
            Assert.Contains($"Would help:\n  {remedy}\n", await _ctl.RunAsync("instance", "why", name), StringComparison.Ordinal);
        }

        await _ctl.RunAsync("node", "uncordon", "n2");
        await _ctl.RunAsync("node", "label", "n1", "disk=ssd");
        await CreateAsync("guest", "--zone", "c", "--toleration", "gpu=a100:no-schedule");

        Assert.Equal("n2", (await Cluster.RunningAsync("waits")).Placement.Node);
        Assert.Equal("n1", (await Cluster.RunningAsync("fussy")).Placement.Node);
        Assert.Equal("n3", (await Cluster.RunningAsync("guest")).Placement.Node);
        await _ctl.RunAsync("node", "label", "n1", "disk-");
    }

    private Task<string> CreateAsync(string name, params string[] flags) => _ctl.RunAsync(
    [
        "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600",
        "--cpus", "50m", "--memory", "32", "--stop-signal", "KILL", "--no-wait", .. flags,
    ]);

    private static Regex Line(string pattern) => new($"^{pattern} *$", RegexOptions.Multiline);
}
