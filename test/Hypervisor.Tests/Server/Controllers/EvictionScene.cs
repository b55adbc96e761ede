using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>A control plane that leads, and nodes that say what a test lets them say.</summary>
public abstract class EvictionScene : IAsyncLifetime
{
    private ILeadership _leadership = null!;

    private protected ControlPlane Plane { get; private set; } = null!;

    private protected LeaderTerm Term { get; set; } = null!;

    private protected static CancellationToken Token => TestContext.Current.CancellationToken;

    private protected ClusterView View => Plane.State.View;

    public async ValueTask InitializeAsync()
    {
        Plane = await ControlPlane.StartAsync(Token);
        _leadership = await Plane.CampaignAsync(Token);
        Term = new(_leadership.Guard);
    }

    public async ValueTask DisposeAsync()
    {
        await _leadership.DisposeAsync();
        await Plane.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    /// <summary>What the leader knows besides the store is gone with it.</summary>
    private protected async Task ChangeLeaderAsync()
    {
        await _leadership.DisposeAsync();
        _leadership = await Plane.CampaignAsync(Token);
        Term = new(_leadership.Guard);
    }

    private protected Task<InstanceId> AskAsync(string name, int priority, Action<PlacementConstraints>? change = null, int gpus = 0) => Plane.PendingAsync(
        name,
        Token,
        change: record =>
        {
            // In the order of the calls.
            Plane.Time.Advance(TimeSpan.FromMilliseconds(1));
            record.Metadata.CreatedAt = Timestamp.FromDateTimeOffset(Plane.Time.GetUtcNow());
            record.Spec.Constraints = new() { Priority = priority };
            if (gpus > 0)
            {
                record.Spec.Resources.Devices["gpu"] = gpus;
            }

            change?.Invoke(record.Spec.Constraints);
        });

    private protected async Task PassAsync()
    {
        await Plane.ViewAsync(Token);
        await Plane.Placements.ReconcileAsync(Term, Token);
        await Plane.ViewAsync(Token);
    }

    private protected async Task SetAsync(NodeId node, Action<NodeSpec> change)
    {
        var record = (await Plane.ViewAsync(Token)).Node(node)!.SpecRecord.Clone();
        record.Spec ??= new();
        change(record.Spec);
        await Plane.PutAsync(Keys.NodeSpec(node), record, Token);
    }

    /// <summary>What its agent is told of an instance as it is now.</summary>
    private protected AssignmentEvent? Event(NodeId node, InstanceId id) => AssignmentFeed.EventFor(node, null, View.Instance(id));

    private protected async Task ReportAsync(NodeId node, InstanceId id, InstanceState state, long parking = 0)
    {
        var report = new StatusReport { Uid = id.Value, Epoch = View.Instance(id)!.Epoch.Value, Status = new() { State = state, ObservedParking = parking } };
        await Plane.Intake.ReportAsync(node, new() { Reports = { report } }, Token);
        await Plane.ViewAsync(Token);
    }

    /// <summary>Its node has stopped it and removed all of it, and whoever waits is decided about.</summary>
    private protected async Task LeavesAsync(NodeId node, InstanceId id)
    {
        await ReportAsync(node, id, InstanceState.Stopped);
        await RemovedAsync(node, id);
        await PassAsync();
    }

    private protected async Task RemovedAsync(NodeId node, InstanceId id)
    {
        await Plane.Intake.ReportAsync(node, new() { Removed = { new Removal { Uid = id.Value, Epoch = View.Instance(id)!.Epoch.Value } } }, Token);
        await Plane.ViewAsync(Token);
    }
}
