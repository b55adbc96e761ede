using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Nodes;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Tests.Server.Scheduling.Trials;

/// <summary>A control plane with nodes in zones, which leads.</summary>
internal sealed class ZonedPlane : IAsyncDisposable
{
    private readonly CancellationToken _token;
    private readonly TrialTurn _turn;
    private readonly WhatIfQuery _query;
    private readonly CurrentTerm _current = new();
    private ILeadership? _leadership;
    private LeaderTerm? _term;

    private ZonedPlane(ControlPlane plane, CancellationToken token)
    {
        (Plane, _token) = (plane, token);
        _turn = new(plane.Time);
        _query = new(plane.Reads, _turn, PlacementStrategy.Spread);
        Rebalancing = new(plane.Reads, _turn, new(plane.State, _current, plane.Placer, plane.Evictor), PlacementStrategy.Spread);
    }

    public ControlPlane Plane { get; }

    public Rebalancing Rebalancing { get; }

    public static async Task<ZonedPlane> StartAsync(CancellationToken token) => new(await ControlPlane.StartAsync(token), token);

    /// <param name="zone">"b", or "eu/b".</param>
    public async Task<NodeId> NodeAsync(string name, string zone, int memoryMiB = 8192, int gpus = 0)
    {
        var request = ControlPlane.Registration(name, (long)memoryMiB << 20, gpus: gpus);
        var slash = zone.IndexOf('/', StringComparison.Ordinal);
        (request.Inventory.Region, request.Inventory.Zone) = (slash < 0 ? "" : zone[..slash], zone[(slash + 1)..]);
        var id = new NodeId((await Plane.Registry.RegisterAsync(request, _token)).Node.Metadata.Uid);
        await Plane.PutAsync(Hypervisor.Server.Stores.Keys.NodeHealth(id), new NodeHealthRecord { Liveness = NodeLiveness.Ready }, _token);
        return id;
    }

    /// <summary>Each is a second younger than the one before.</summary>
    public async Task<InstanceId> InstanceAsync(string name, int memoryMiB = 64, DiskKind disk = DiskKind.Ephemeral, Action<InstanceSpecRecord>? change = null)
    {
        Plane.Time.Advance(TimeSpan.FromSeconds(1));
        return await Plane.PendingAsync(name, _token, (long)memoryMiB << 20, disk, change);
    }

    /// <summary>The leader places what it can.</summary>
    public async Task PlaceAsync()
    {
        _leadership ??= await Plane.CampaignAsync(_token);
        _current.Value = _term ??= new(_leadership.Guard);
        await Plane.Placements.ReconcileAsync(_term, _token);

        // Until this replica shows it.
        await Plane.ViewAsync(_token);
    }

    public async Task CordonAsync(NodeId node)
    {
        var record = (await Plane.ViewAsync(_token)).Node(node)!.SpecRecord.Clone();
        (record.Spec ??= new()).Scheduling = NodeScheduling.Cordoned;
        await Plane.PutAsync(Hypervisor.Server.Stores.Keys.NodeSpec(node), record, _token);
    }

    /// <summary>What the leader knows besides the store is gone with it.</summary>
    public async Task ChangeLeaderAsync()
    {
        await _leadership!.DisposeAsync();
        _leadership = await Plane.CampaignAsync(_token);
        _current.Value = _term = new(_leadership.Guard);
        await Plane.ViewAsync(_token);
    }

    /// <summary>The agents of those that are to leave say that they have stopped, and that nothing is left; then they are placed.</summary>
    public async Task FinishEvictionsAsync()
    {
        await LeaveAsync();
        await PlaceAsync();
    }

    /// <summary>The same, and nobody places them yet.</summary>
    public async Task LeaveAsync()
    {
        foreach (var instance in (await Plane.ViewAsync(_token)).Instances.Where(instance => instance.Eviction is not null).ToList())
        {
            var node = instance.NodeId!.Value;
            await Plane.Intake.ReportAsync(
                node, new() { Reports = { new StatusReport { Uid = instance.Id.Value, Epoch = instance.Epoch.Value, Status = new() { State = InstanceState.Stopped } } } }, _token);
            await Plane.ViewAsync(_token);
            await Plane.Intake.ReportAsync(node, new() { Removed = { new Removal { Uid = instance.Id.Value, Epoch = instance.Epoch.Value } } }, _token);
        }

        await Plane.ViewAsync(_token);
    }

    public async Task<string> NodeOfAsync(InstanceId id)
    {
        var view = await Plane.ViewAsync(_token);
        return view.Instance(id)!.NodeId is { } node ? view.Node(node)!.Name : "";
    }

    public Task<WhatIfResponse> TryAsync(WhatIfRequest request) => _query.TryAsync(request, _token);

    public async ValueTask DisposeAsync()
    {
        _turn.Dispose();
        if (_leadership is not null)
        {
            await _leadership.DisposeAsync();
        }

        await Plane.DisposeAsync();
    }
}
