using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Protocol;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Telemetry;

/// <summary>Protects: what drivers are asked is counted by how it went, in a form that Prometheus reads.</summary>
public sealed class AgentMetricsTests
{
    [Fact]
    public async Task Every_call_is_counted_with_its_outcome_and_its_time()
    {
        var time = new FakeTimeProvider();
        var (metrics, faults) = (new AgentMetrics(), new FakeFaults(time));
        var driver = new MeteredDriver(new FakeDriver(new FakeMachine(time), faults), metrics, time, NullLogger<MeteredDriver>.Instance);
        var definition = new InstanceDefinition(AgentWorld.Assignment(AgentWorld.Id("a").Value), "sha256:0", null);

        await driver.CreateAsync(definition, CancellationToken.None);
        faults.FailAlways("StartAsync", new DriverException("Unavailable", "away", permanent: false));
        await Assert.ThrowsAsync<DriverException>(() => driver.StartAsync(definition.Id, new Epoch(1), CancellationToken.None));
        faults.Heal("StartAsync");
        faults.FailAlways("StartAsync", new DriverException("CommandNotFound", "no", permanent: true));
        await Assert.ThrowsAsync<DriverException>(() => driver.StartAsync(definition.Id, new Epoch(1), CancellationToken.None));
        faults.Heal("StartAsync");
        await driver.StartAsync(definition.Id, new Epoch(1), CancellationToken.None);
        Assert.Single(await driver.ListAsync(CancellationToken.None));

        var text = metrics.Write();
        foreach (var (call, outcome) in new[] { ("create", "ok"), ("start", "ok"), ("start", "failed"), ("start", "refused"), ("list", "ok") })
        {
            Assert.Contains(
                $"hypervisor_agent_driver_call_duration_seconds_count{{driver=\"{driver.Name}\",call=\"{call}\",outcome=\"{outcome}\"}} 1\n", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_text_is_what_prometheus_reads()
    {
        var metrics = new AgentMetrics();
        metrics.Called("d", "start", "ok", TimeSpan.FromMilliseconds(1));
        metrics.Called("d", "start", "ok", TimeSpan.FromMilliseconds(30));
        metrics.Called("d", "start", "ok", TimeSpan.FromMinutes(2));
        metrics.Checked("exec", null);
        metrics.Checked("exec", false);
        metrics.Read("some_gauge", "gauge", "Of something.", () => 0.5);

        var lines = metrics.Write().Split('\n');

        Assert.Equal("", lines[^1]);
        Assert.Contains("# TYPE hypervisor_agent_driver_call_duration_seconds histogram", lines);
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_bucket{driver=\"d\",call=\"start\",outcome=\"ok\",le=\"0.001\"} 1", lines);
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_bucket{driver=\"d\",call=\"start\",outcome=\"ok\",le=\"0.05\"} 2", lines);
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_bucket{driver=\"d\",call=\"start\",outcome=\"ok\",le=\"30\"} 2", lines);
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_bucket{driver=\"d\",call=\"start\",outcome=\"ok\",le=\"+Inf\"} 3", lines);
        Assert.Contains("hypervisor_agent_driver_call_duration_seconds_sum{driver=\"d\",call=\"start\",outcome=\"ok\"} 120.031", lines);
        Assert.Contains("hypervisor_agent_health_checks_total{kind=\"exec\",outcome=\"unasked\"} 1", lines);
        Assert.Contains("hypervisor_agent_health_checks_total{kind=\"exec\",outcome=\"failed\"} 1", lines);
        Assert.Contains("some_gauge 0.5", lines);
    }
}
