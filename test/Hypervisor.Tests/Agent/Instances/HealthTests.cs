using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what does not work is shown so, and is started again only where that was asked for.</summary>
public sealed class HealthTests : IDisposable
{
    private static readonly HealthResult Good = new(true, "");
    private static readonly HealthResult Bad = new(false, "refused");

    private readonly AgentWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData("+", "Unknown")]
    [InlineData("++", "Healthy")]
    [InlineData("+-+", "Unknown")]
    [InlineData("--", "Unknown")]
    [InlineData("---", "Unhealthy")]
    [InlineData("--+---", "Unhealthy")]
    [InlineData("++--", "Healthy")]
    [InlineData("++---", "Unhealthy")]
    [InlineData("++---+", "Unhealthy")]
    [InlineData("++---++", "Healthy")]
    public void As_many_in_a_row_as_asked_for_make_a_verdict(string results, string expected)
    {
        var check = Check(start: TimeSpan.Zero);
        check.SuccessThreshold = 2;
        var state = results.Aggregate(HealthState.None, (state, result) => HealthRules.Next(state, result == '+' ? Good : Bad, check, TimeSpan.Zero));
        Assert.Equal(expected, state.Verdict.ToString());
    }

    [Fact]
    public void Failures_in_the_start_period_do_not_count_successes_do()
    {
        var check = Check(start: TimeSpan.FromSeconds(10));
        var state = HealthState.None;
        for (var i = 0; i < 9; i++)
        {
            state = HealthRules.Next(state, Bad, check, TimeSpan.FromSeconds(i));
        }

        Assert.Equal((HealthVerdict.Unknown, 0), (state.Verdict, state.Failures));
        Assert.Equal(HealthVerdict.Healthy, HealthRules.Next(state, Good, check, TimeSpan.FromSeconds(9)).Verdict);
    }

    [Fact]
    public void An_instance_is_ready_once_it_is_healthy_and_no_longer_when_it_is_not()
    {
        _world.Boot().Sync();
        _world.Put(Wanted(UnhealthyAction.Report));
        Assert.Equal((InstanceState.Running, "True", "True"), Seen());

        _world.Health.Broken.Add(_world.Status("a").IpAddresses.Single());
        _world.Advance(TimeSpan.FromSeconds(15));
        Assert.Equal((InstanceState.Running, "True", "True"), Seen());
        _world.Advance(TimeSpan.FromSeconds(20));
        Assert.Equal((InstanceState.Running, "False", "False"), Seen());
        Assert.Equal(("Unhealthy", "Its health check fails: broken."), (_world.Status("a").Reason, _world.Status("a").Message));

        _world.Health.Broken.Clear();
        _world.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal((InstanceState.Running, "True", "True"), Seen());
        Assert.Equal(["create a", "start a"], _world.Effects);
    }

    [Fact]
    public void An_unhealthy_one_is_stopped_and_started_again_where_that_was_asked_for()
    {
        _world.Boot().Sync();
        _world.Put(Wanted(UnhealthyAction.Restart));
        _world.Health.Broken.Add(_world.Status("a").IpAddresses.Single());
        _world.Advance(TimeSpan.FromSeconds(35));
        Assert.Equal(["create a", "start a", "stop a", "create a", "start a"], _world.Effects);
        Assert.Equal(1, _world.Status("a").Restarts);

        _world.Health.Broken.Clear();
        _world.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal((InstanceState.Running, "True", "True"), Seen());
        Assert.Equal(5, _world.Effects.Count);
    }

    [Fact]
    public void One_that_cannot_be_asked_keeps_its_verdict()
    {
        _world.Boot().Sync();
        _world.Put(Wanted(UnhealthyAction.Restart));
        _world.Health.Mute.Add(AgentWorld.Id("a").Value);
        _world.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal((InstanceState.Running, "True", "True"), Seen());
        Assert.Equal(["create a", "start a"], _world.Effects);
    }

    [Fact]
    public void A_failing_check_that_says_something_else_each_time_is_not_written_each_time()
    {
        _world.Boot().Sync();
        _world.Put(Wanted(UnhealthyAction.Report));
        _world.Health.Broken.Add(AgentWorld.Id("a").Value);
        _world.Health.Says = () => _world.Time.GetUtcNow().ToString("T", System.Globalization.CultureInfo.InvariantCulture);
        _world.Advance(TimeSpan.FromSeconds(35));
        var said = new List<string> { _world.Status("a").Message };
        for (var i = 0; i < 18; i++)
        {
            _world.Advance(TimeSpan.FromSeconds(10));
            said.Add(_world.Status("a").Message);
        }

        Assert.InRange(said.Distinct().Count(), 3, 4);
    }

    [Fact]
    public void A_stopped_one_is_not_asked()
    {
        _world.Boot().Sync();
        _world.Put(Wanted(UnhealthyAction.Restart));
        _world.Health.Broken.Add(_world.Status("a").IpAddresses.Single());
        _world.Put(Wanted(UnhealthyAction.Restart, generation: 2, state: DesiredState.Stopped));
        _world.Advance(TimeSpan.FromMinutes(2));

        Assert.Equal(["create a", "start a", "stop a"], _world.Effects);
        Assert.DoesNotContain(_world.Status("a").Conditions, condition => condition.Type == "Healthy");
    }

    private static Assignment Wanted(UnhealthyAction action, long generation = 1, DesiredState state = DesiredState.Running)
    {
        var assignment = AgentWorld.Assignment("a", generation: generation, state: state);
        assignment.Spec.Health = Check(TimeSpan.Zero);
        assignment.Spec.Health.OnUnhealthy = action;
        return assignment;
    }

    private static HealthCheck Check(TimeSpan start) => new()
    {
        Tcp = new TcpCheck { Port = 80 },
        Interval = Duration.FromTimeSpan(TimeSpan.FromSeconds(10)),
        Timeout = Duration.FromTimeSpan(TimeSpan.FromSeconds(2)),
        StartPeriod = Duration.FromTimeSpan(start),
        FailureThreshold = 3,
        SuccessThreshold = 1,
    };

    private (InstanceState State, string Healthy, string Ready) Seen()
    {
        var status = _world.Status("a");
        return (status.State, Of("Healthy"), Of("Ready"));

        string Of(string type) => status.Conditions.Single(condition => condition.Type == type).Status.ToString();
    }
}
