using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers;

/// <summary>
/// Tries the loss of each zone again and again, whenever anything has changed, and reports what would have no node then. Never busy for more than a
/// twentieth of the time: large fleets are looked at less often.
/// </summary>
/// <param name="clusterDefault">For instances that name no strategy.</param>
internal sealed class ZoneLossController(ClusterState state, ZoneLossReport report, PlacementStrategy clusterDefault, TimeProvider time) : IController
{
    public string Name => "zone-loss";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        try
        {
            var seen = 0L;
            while (true)
            {
                var revision = state.Revision;
                if (revision != seen)
                {
                    await LookAsync(cancellationToken);
                    seen = revision;
                }

                await Task.Delay(Limits.Trials.ZoneLossPeriod, time, cancellationToken);
            }
        }
        finally
        {
            report.Clear();
        }
    }

    /// <summary>One look at every zone, with pauses.</summary>
    public async Task LookAsync(CancellationToken cancellationToken)
    {
        var zones = ZoneLoss.ZonesOf(state.View);
        var verdicts = new List<ZoneLossVerdict>();

        // Of a single one there is nothing to find out.
        foreach (var zone in zones.Count < 2 ? [] : zones.Take(Limits.Trials.Zones))
        {
            var started = time.GetTimestamp();
            using (ServerInstruments.Reconciling(Name, time))
            {
                verdicts.Add(ZoneLoss.Try(state.View, zone, clusterDefault, cancellationToken));
            }

            await Task.Delay(time.GetElapsedTime(started) * Limits.Trials.ZoneLossPause, time, cancellationToken);
        }

        report.Publish(verdicts, zones.Count);
    }
}
