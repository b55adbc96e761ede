using Hypervisor.Agent.Instances;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what only a person can end is shown as a failure, also while it is tried again.</summary>
public sealed class StatusRenderingTests
{
    [Theory]
    [InlineData("DiskFull", InstanceState.Failed)]
    [InlineData("RuntimeUnavailable", InstanceState.Starting)]
    public void What_is_tried_again_is_on_its_way_unless_a_person_must_act(string reason, InstanceState state)
    {
        var retryAt = TimeSpan.FromSeconds(10);
        var view = new RunnerView
        {
            Desired = new Assignment
            {
                Epoch = 1,
                Generation = 1,
                Spec = new InstanceSpec { Type = InstanceType.Container, DesiredState = DesiredState.Running },
            },
            Observed = Observation.Absent,
            Failure = new Failure(RunnerAction.Create, reason, "why", Permanent: false, Attempts: 1, Generation: 1, new Epoch(1), retryAt),
        };
        foreach (var now in new[] { retryAt - TimeSpan.FromSeconds(1), retryAt })
        {
            var decision = RunnerDecision.Decide(view, now);
            var status = StatusRendering.Render(view, decision, previous: null, address: "", DateTimeOffset.UnixEpoch)!;

            Assert.Equal((state, reason, "why"), (status.State, status.Reason, status.Message));
        }
    }
}
