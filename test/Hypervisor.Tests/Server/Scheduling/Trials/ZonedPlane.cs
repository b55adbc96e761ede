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
    private readonly WhatIfQuery _query;
    private ILeadership? _leadership;
    private LeaderTerm? _term;

    private ZonedPlane(ControlPlane plane, CancellationToken token)
    {
        (Plane, _token) = (plane, token);
        _query = new(plane.Reads, PlacementStrategy.Spread, plane.Time);
    }

    public ControlPlane Plane { get; }

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
        await Plane.Placements.ReconcileAsync(_term ??= new(_leadership.Guard), _token);

        // Until this replica shows it.
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
        _query.Dispose();
        if (_leadership is not null)
        {
            await _leadership.DisposeAsync();
        }

        await Plane.DisposeAsync();
    }
}
