using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: a process that ended is started again exactly as its policy says, and never against its user.</summary>
public sealed class RestartPolicyTests : IDisposable
{
    private readonly AgentWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData(RestartPolicy.Never, 1, false)]
    [InlineData(RestartPolicy.OnFailure, 0, false)]
    [InlineData(RestartPolicy.OnFailure, 1, true)]
    [InlineData(RestartPolicy.Always, 0, true)]
    [InlineData(RestartPolicy.Always, 1, true)]
    public void The_policy_and_the_exit_decide(RestartPolicy policy, int code, bool again)
    {
        Start(policy);
        End(code);
        _world.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal(again ? 2 : 1, Starts());
        Assert.Equal(again ? 1 : 0, _world.Status("a").Restarts);
        Assert.Equal(again ? InstanceState.Running : code == 0 ? InstanceState.Stopped : InstanceState.Failed, _world.Status("a").State);
    }

    [Fact]
    public void Until_then_the_status_says_how_it_ended_and_when_it_is_started_again()
    {
        Start(RestartPolicy.Always);
        End(3);

        Assert.Equal((InstanceState.Starting, "RestartBackoff"), (_world.Status("a").State, _world.Status("a").Reason));
        Assert.Equal("The process ended by itself with exit code 3. It is started again after 1 s (restart 1).", _world.Status("a").Message);
        Assert.Equal(3, _world.Status("a").Exit.Code);
    }

    [Fact]
    public void Each_short_run_doubles_the_wait_and_a_long_one_makes_it_short_again()
    {
        Start(RestartPolicy.Always);
        foreach (var wait in new[] { 1, 2, 4, 8, 16, 32, 64, 120, 120 })
        {
            Assert.Equal(wait, SecondsUntilRestart());
        }

        _world.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal(1, SecondsUntilRestart());
        Assert.Equal(2, SecondsUntilRestart());
    }

    [Fact]
    public void The_wait_survives_a_restart_of_the_agent()
    {
        Start(RestartPolicy.Always);
        Assert.Equal([1, 2, 4], [SecondsUntilRestart(), SecondsUntilRestart(), SecondsUntilRestart()]);
        End(1);
        _world.Advance(TimeSpan.FromSeconds(3));
        _world.Kill();
        _world.Boot().Sync();
        _world.Put(Wanted(RestartPolicy.Always));
        Assert.Equal(4, Starts());

        _world.Advance(TimeSpan.FromSeconds(6));
        Assert.Equal((5, 4), (Starts(), _world.Status("a").Restarts));
    }

    [Fact]
    public void After_the_most_restarts_it_stays_as_it_ended_until_a_user_starts_it()
    {
        Start(RestartPolicy.OnFailure, most: 2);
        _ = (SecondsUntilRestart(), SecondsUntilRestart());
        End(7);
        _world.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal((3, InstanceState.Failed, 2), (Starts(), _world.Status("a").State, _world.Status("a").Restarts));

        _world.Put(Wanted(RestartPolicy.OnFailure, most: 2, generation: 2, restart: 1));
        Assert.Equal((4, InstanceState.Running, 0), (Starts(), _world.Status("a").State, _world.Status("a").Restarts));
    }

    [Fact]
    public void What_a_user_stopped_stays_stopped()
    {
        Start(RestartPolicy.Always);
        End(1);
        _world.Put(Wanted(RestartPolicy.Always, generation: 2, state: DesiredState.Stopped));
        _world.Advance(TimeSpan.FromMinutes(5));

        Assert.Equal((1, InstanceState.Stopped), (Starts(), _world.Status("a").State));
    }

    [Fact]
    public void A_process_ended_while_the_agent_was_away_is_started_again_too()
    {
        Start(RestartPolicy.OnFailure);
        _world.Kill();
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = 1 });
        _world.Boot().Sync();
        _world.Put(Wanted(RestartPolicy.OnFailure));
        _world.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal((2, InstanceState.Running), (Starts(), _world.Status("a").State));
    }

    [Fact]
    public void A_policy_that_is_given_afterwards_takes_in_what_has_ended()
    {
        Start(RestartPolicy.Never);
        End(1);
        _world.Put(Wanted(RestartPolicy.OnFailure, generation: 2));
        _world.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    [Theory]
    [InlineData(0, 10, 0, 1)]
    [InlineData(3, 10, 3, 8)]
    [InlineData(3, 119, 3, 8)]
    [InlineData(3, 120, 0, 1)]
    [InlineData(60, 0, 60, 120)]
    public void Waits_grow_with_the_streak(int streak, int ranSeconds, int doublings, int waitSeconds)
    {
        var count = new RestartCount(100, streak);
        Assert.Equal(TimeSpan.FromSeconds(waitSeconds), count.DelayAfter(TimeSpan.FromSeconds(ranSeconds)));
        Assert.Equal(new RestartCount(101, doublings + 1), count.After(TimeSpan.FromSeconds(ranSeconds)));
    }

    private static Assignment Wanted(
        RestartPolicy policy, int most = 0, long generation = 1, long restart = 0, DesiredState state = DesiredState.Running)
    {
        var assignment = AgentWorld.Assignment("a", generation: generation, restart: restart, state: state);
        assignment.Spec.Restart = new RestartSpec { Policy = policy, MaxRestarts = most };
        return assignment;
    }

    private void Start(RestartPolicy policy, int most = 0)
    {
        _world.Boot().Sync();
        _world.Put(Wanted(policy, most));
        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    private void End(int code)
    {
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = code });
        _world.Settle();
    }

    private int Starts() => _world.Effects.Count(effect => effect == "start a");

    private int SecondsUntilRestart()
    {
        var before = Starts();
        End(1);
        var begun = _world.Time.GetUtcNow();
        while (Starts() == before)
        {
            Assert.True(_world.Time.GetUtcNow() - begun < TimeSpan.FromMinutes(10), "It was not started again.");
            _world.Advance(TimeSpan.FromMilliseconds(100));
        }

        return (int)Math.Round((_world.Time.GetUtcNow() - begun).TotalSeconds);
    }
}
