using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what runs becomes known, once, in bounded batches, and again when it was not taken.</summary>
public sealed class StatusReporterTests : IDisposable
{
    private readonly AgentWorld _world = new();

    [Fact]
    public void What_comes_while_a_report_is_under_way_travels_together_in_batches_of_256()
    {
        _world.Boot().Sync();
        _world.ControlPlane.ReportLatency = TimeSpan.FromMilliseconds(50);
        for (var i = 0; i < 600; i++)
        {
            _world.Put(AgentWorld.Assignment($"i{i:D3}"));
        }

        _world.Advance(TimeSpan.FromSeconds(2));

        var sizes = _world.ControlPlane.Reports.Select(report => report.Reports.Count).Where(count => count > 0).ToList();
        Assert.All(sizes, size => Assert.InRange(size, 1, 256));
        Assert.Equal(600, _world.ControlPlane.Statuses.Count);
        Assert.All(_world.ControlPlane.Statuses.Values, report => Assert.Equal(InstanceState.Running, report.Status.State));
        Assert.InRange(sizes.Count, 1, 10);
    }

    [Fact]
    public void What_did_not_change_is_not_sent_again()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Advance(TimeSpan.FromMinutes(3));

        Assert.Single(_world.ControlPlane.Reports, report => report.Reports.Count > 0);
    }

    [Fact]
    public void A_report_answered_retry_is_sent_again_and_a_stale_one_is_not()
    {
        _world.Boot().Sync();
        var answers = new Dictionary<string, Queue<ReportResult>>
        {
            ["again"] = new([ReportResult.Retry, ReportResult.Retry]),
            ["stale"] = new([ReportResult.Stale]),
        };
        _world.ControlPlane.Judge = report => answers[report.Uid].TryDequeue(out var answer) ? answer : ReportResult.Accepted;
        _world.Put(AgentWorld.Assignment("again"));
        _world.Put(AgentWorld.Assignment("stale"));
        _world.Advance(TimeSpan.FromSeconds(10));

        Assert.Equal(InstanceState.Running, _world.Status("again").State);
        Assert.False(_world.ControlPlane.Statuses.ContainsKey("stale"));
        Assert.Equal(1, _world.ControlPlane.Reports.Sum(batch => batch.Reports.Count(report => report.Uid == "stale")));
    }

    [Fact]
    public void One_invalid_report_is_dropped_and_keeps_no_other_from_being_heard()
    {
        _world.Boot().Sync();
        _world.ControlPlane.IsInvalid = report => report.Uid == "i137";
        _world.ControlPlane.ReportLatency = TimeSpan.FromMilliseconds(50);
        for (var i = 0; i < 200; i++)
        {
            _world.Put(AgentWorld.Assignment($"i{i:D3}"));
        }

        _world.Put(AgentWorld.Assignment("gone"));
        _world.Remove("gone", 1);
        _world.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(199, _world.ControlPlane.Statuses.Keys.Count(uid => uid.StartsWith('i')));
        Assert.Equal(["gone@1"], _world.ControlPlane.Removed);

        var sent = _world.ControlPlane.Reports.Count;
        _world.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(sent, _world.ControlPlane.Reports.Count);
    }

    [Fact]
    public void One_that_is_answered_retry_for_ever_slows_down_nobody_else()
    {
        _world.Boot().Sync();
        _world.ControlPlane.Judge = report => report.Uid == "stuck" ? ReportResult.Retry : ReportResult.Accepted;
        _world.Put(AgentWorld.Assignment("stuck"));
        _world.Advance(TimeSpan.FromSeconds(30));
        _world.Put(AgentWorld.Assignment("a"));

        Assert.Equal(InstanceState.Running, _world.Status("a").State);
        Assert.InRange(_world.ControlPlane.Reports.Sum(batch => batch.Reports.Count(report => report.Uid == "stuck")), 10, 40);
    }

    [Fact]
    public void The_latest_state_wins_over_one_that_is_under_way()
    {
        _world.Boot().Sync();
        _world.ControlPlane.ReportLatency = TimeSpan.FromMilliseconds(100);
        _world.Put(AgentWorld.Assignment("a"));
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = 7 });
        _world.Advance(TimeSpan.FromSeconds(1));

        Assert.Equal((InstanceState.Failed, 7), (_world.Status("a").State, _world.Status("a").Exit.Code));
    }

    [Fact]
    public void A_removal_is_acknowledged_again_until_the_server_was_there_to_hear_it()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.ControlPlane.ReportLatency = TimeSpan.FromSeconds(1);
        _world.Remove("a", 1);
        _world.ControlPlane.GoAway();
        _world.Advance(TimeSpan.FromSeconds(30));
        Assert.Empty(_world.ControlPlane.Removed);

        _world.ControlPlane.ComeBack();
        _world.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(["a@1"], _world.ControlPlane.Removed);
    }

    public void Dispose() => _world.Dispose();
}
