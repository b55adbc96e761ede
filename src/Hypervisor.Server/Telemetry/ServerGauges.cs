using System.Diagnostics.Metrics;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Telemetry;

/// <summary>How things stand, read when somebody asks.</summary>
internal sealed class ServerGauges : IDisposable
{
    private readonly Meter _meter = new(ServerInstruments.MeterName);

    public ServerGauges(
        ClusterState state, StoreWriter writer, HeartbeatTable beats, HeartbeatTerms terms, WatchHub watches, CurrentTerm term, ZoneLossReport zones, TimeProvider time)
    {
        _meter.CreateObservableGauge(
            "hypervisor.store.queued.writes", () => writer.QueuedWrites, "{write}", "Writes that wait behind the transaction in flight.");
        _meter.CreateObservableGauge(
            "hypervisor.state.age", () => state.Age.TotalSeconds, "s", "How long ago this replica's view was known to be current.");
        _meter.CreateObservableGauge("hypervisor.state.revision", () => state.Revision, "{revision}", "Store revision of this replica's view.");
        _meter.CreateObservableGauge("hypervisor.leader", () => term.Value is null ? 0 : 1, "{leader}", "1 while this replica leads.");
        _meter.CreateObservableGauge("hypervisor.watches", () => watches.Watches, "{watch}", "Watches that clients hold.");
        _meter.CreateObservableGauge(
            "hypervisor.agents.connected",
            () => state.View.Nodes.Count(node => beats.LastOf(node.Id) is { } beat && time.GetElapsedTime(beat.At) < terms.Lease),
            "{agent}", "Agents heard by this replica within the lease.");
        _meter.CreateObservableGauge("hypervisor.nodes", () => Nodes(state.View), "{node}", "Nodes by liveness.");
        _meter.CreateObservableGauge("hypervisor.instances", () => Instances(state.View), "{instance}", "Instances by state.");
        _meter.CreateObservableGauge(
            "hypervisor.zone.loss.unplaceable.instances", () => Unplaceable(zones), "{instance}",
            "Instances of a zone that would have no node if it were lost; told by the leader.");
        _meter.CreateObservableGauge("hypervisor.events", () => state.View.EventCount, "{event}", "Events kept.");
    }

    public void Dispose() => _meter.Dispose();

    // Zeros too: a series that vanishes cannot be told from a server that does not answer.
    private static IEnumerable<Measurement<int>> Nodes(ClusterView view)
    {
        var counts = view.Nodes.CountBy(node => node.Liveness).ToDictionary();
        return Enum.GetValues<NodeLiveness>().Where(liveness => liveness != NodeLiveness.Unspecified).Select(liveness =>
            new Measurement<int>(counts.GetValueOrDefault(liveness), new KeyValuePair<string, object?>("liveness", liveness.ToString())));
    }

    private static IEnumerable<Measurement<int>> Unplaceable(ZoneLossReport zones) => zones.Verdicts.Select(verdict => new Measurement<int>(
        verdict.Unplaceable, new KeyValuePair<string, object?>("region", verdict.Zone.Region), new KeyValuePair<string, object?>("zone", verdict.Zone.Zone)));

    private static IEnumerable<Measurement<int>> Instances(ClusterView view)
    {
        var counts = view.Instances.CountBy(InstanceView.StateOf).ToDictionary();
        return Enum.GetValues<InstanceState>().Where(state => state != InstanceState.Unspecified).Select(state =>
            new Measurement<int>(counts.GetValueOrDefault(state), new KeyValuePair<string, object?>("state", state.ToString())));
    }
}
