using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Server.Scheduling.Queues;

/// <summary>What happened to the fleet, asked whether a request that fitted nowhere before could fit now.</summary>
internal sealed class PossibleHelp
{
    private readonly Fleet _fleet;
    private readonly FleetNews _news;
    private readonly int[] _rows;
    private readonly bool _redescribed;

    /// <summary>More than any of the rows has free.</summary>
    private readonly ResourceAmount _most;

    /// <param name="described">Rows whose description changed; null when nobody knows which.</param>
    public PossibleHelp(Fleet fleet, FleetNews news, int[]? described)
    {
        (_fleet, _news, _redescribed) = (fleet, news, described is null or { Length: > 0 });
        _rows = described is null ? [.. Enumerable.Range(0, fleet.RowCount)] : [.. news.Roomier.Union(described)];
        foreach (var row in _rows)
        {
            ref var at = ref fleet.Row(row);
            _most = new(Math.Max(_most.CpuMillicores, at.FreeCpu), Math.Max(_most.MemoryBytes, at.FreeMemory), Math.Max(_most.DiskBytes, at.FreeDisk));
        }
    }

    public bool MayHelp(QueueGroup group)
    {
        var request = group.Request;
        return (request.Reserve.FitsIn(_most) && _rows.Any(row => Takes(row, request))) || NeighboursHelp(group);
    }

    /// <summary>But for its neighbours.</summary>
    private bool Takes(int row, PlacementRequest request)
    {
        ref var at = ref _fleet.Row(row);
        return request.Reserve.FitsIn(new(at.FreeCpu, at.FreeMemory, at.FreeDisk))
            && _fleet.NodeAt(row) is { Node: var node }
            && Scheduler.Able.All(filter => filter.Judge(request, node) is null)
            && request.Devices.FitsIn(_fleet.FreeDevicesAt(row))
            && request.Ports.All(port => !_fleet.HasPort(row, port));
    }

    private bool NeighboursHelp(QueueGroup group)
    {
        var request = group.Request;
        if (_redescribed && (group.AsksForNeighbours || IsKeptAway(request)))
        {
            // A node that became part of another place, or is none that could take one any more, changes what others may take.
            return true;
        }

        return (group.AsksForNeighbours && _news.Came.Any(kind => Helps(kind, request, came: true))) || _news.Left.Any(kind => Helps(kind, request, came: false));
    }

    private bool IsKeptAway(PlacementRequest request) =>
        _fleet.Neighbours.Keepers.Count > 0 && _fleet.KindOf(request.Project, request.Labels, request.AntiAffinity).KeptAwayBy(_fleet.Neighbours).Count > 0;

    private static bool Helps(InstanceKind kind, PlacementRequest request, bool came)
    {
        if (kind.Project != request.Project)
        {
            return false;
        }

        // Also the last that leaves helps who asks for its own kind: then it may begin anywhere.
        return request.Spread.Any(term => !term.Preferred && term.Selector.Matches(kind.Labels))
            || request.Affinity.Any(term => !term.Preferred && term.Selector.Matches(kind.Labels))
            || (!came && request.AntiAffinity.Any(term => !term.Preferred && term.Selector.Matches(kind.Labels)))
            || (!came && kind.KeepsAway.Any(term => term.Selector.Matches(request.Labels)));
    }
}
