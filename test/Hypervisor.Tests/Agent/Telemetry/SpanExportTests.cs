using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Protocol;
using Hypervisor.Tests.Server.Telemetry;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Agent.Telemetry;

/// <summary>Protects: the trace of an API call goes on to the driver's call, and to the collector that is configured.</summary>
public sealed class SpanExportTests
{
    private const string TraceId = "1af7651916cd43dd8448eb211c80319d";

    [Theory]
    [InlineData("01", true)]
    [InlineData("00", false)]
    public async Task A_drivers_call_is_a_span_of_the_calls_trace_when_that_is_recorded(string flags, bool sent)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(TimeSpan.FromSeconds(60));
        await using var collector = await Collector.StartAsync(deadline.Token);
        using var export = new SpanExport(collector.Address, "node-1", "1", RealClock.Instance, NullLogger<SpanExport>.Instance);
        var driver = new MeteredDriver(
            new FakeDriver(new FakeMachine(RealClock.Instance), new FakeFaults(RealClock.Instance)), new AgentMetrics(), RealClock.Instance, NullLogger<MeteredDriver>.Instance);
        var definition = new InstanceDefinition(AgentWorld.Assignment(AgentWorld.Id("a").Value), "sha256:0", null);

        using (var work = AgentTraces.Begin("instance Start", $"00-{TraceId}-b7ad6b7169203331-{flags}", definition.Id.Value))
        {
            Assert.Equal(TraceId, work!.TraceId.ToHexString());
            await driver.CreateAsync(definition, deadline.Token);
            await Assert.ThrowsAsync<DriverException>(() => driver.StartAsync(definition.Id, new Epoch(0), deadline.Token));
        }

        // Ended at once, it still sends what it has.
        using var ended = new CancellationTokenSource();
        await ended.CancelAsync();
        await export.RunAsync(ended.Token);

        var received = Encoding.Latin1.GetString(collector.Received);
        Assert.Equal(sent, received.Contains(Encoding.Latin1.GetString(Convert.FromHexString(TraceId)), StringComparison.Ordinal));
        Assert.All(
            new[] { "instance Start", $"{driver.Name} create", $"{driver.Name} start", "node-1", definition.Id.Value },
            text => Assert.Equal(sent, received.Contains(text, StringComparison.Ordinal)));
    }

    [Fact]
    public void Without_a_collector_the_work_still_has_its_trace()
    {
        using var work = AgentTraces.Begin("instance Stop", $"00-{TraceId}-b7ad6b7169203331-01", "u");
        Assert.Equal(TraceId, work!.TraceId.ToHexString());
        Assert.Null(AgentTraces.Begin("instance Stop", "", "u"));
        Assert.Null(AgentTraces.Begin("instance Stop", "nonsense", "u"));
    }
}
