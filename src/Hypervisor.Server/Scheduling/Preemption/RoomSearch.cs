using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Preemption;

/// <summary>
/// Where others can make room for requests that differ in nothing but whose they are, one after the other: each time the node where that costs least, of
/// some that are looked at. A node is looked at again only when something happened there, so that a gang costs little more than one instance. Used under
/// the lock of the fleet's owner.
/// </summary>
/// <param name="asked">By which the one before was decided about, so that it knows of those.</param>
/// <param name="first">The row that the look begins with.</param>
/// <param name="nodes">So many that would take the request, but for room, are looked at.</param>
internal sealed class RoomSearch(FleetLedger ledger, RequestClass asked, PlacementRequest request, ClusterView view, int first, int nodes)
{
    private readonly Dictionary<int, Look> _looks = [];

    /// <summary>The row after the last one that was looked at.</summary>
    public int Next { get; private set; }

    /// <summary>Null when no node has anybody who could make room.</summary>
    public (int Row, IReadOnlyList<Victim> Victims)? Best()
    {
        while (Cheapest() is { } row)
        {
            var known = _looks[row];
            if (known.Leaving == ledger.Leaving.Count)
            {
                return (row, known.Victims!);
            }

            // Who was chosen elsewhere meanwhile may have used up a disruption budget: it never costs less than it did, so that this one is looked at again alone.
            _looks[row] = LookAt(row);
        }

        return null;
    }

    private int? Cheapest()
    {
        var fleet = ledger.Fleet;
        (int Row, (int, int, TimeSpan) Cost)? best = null;
        var (looked, step, cheapest) = (0, 0, fleet.Cheapest);
        for (; step < fleet.RowCount && looked < nodes; step++)
        {
            var row = (first + step) % fleet.RowCount;
            if (fleet.NodeAt(row) is not { Node: var node } || !request.Devices.FitsIn(node.Devices) || !asked.TakesButForRoom(row))
            {
                continue;
            }

            looked++;
            if (At(row) is { Victims: not null, Cost: var cost } && (best is not { } known || cost.CompareTo(known.Cost) < 0))
            {
                best = (row, cost);
                if (cost.Count == 0 || (cost.Count == 1 && (cost.Priority, cost.Grace) == cheapest))
                {
                    // No other node has anything better.
                    step++;
                    break;
                }
            }
        }

        Next = fleet.RowCount == 0 ? 0 : (first + step) % fleet.RowCount;
        return best?.Row;
    }

    private Look At(int row)
    {
        if (!_looks.TryGetValue(row, out var known) || known.Stamp != ledger.Fleet.Order.StampOf(row))
        {
            _looks[row] = known = LookAt(row);
        }

        return known;
    }

    private Look LookAt(int row)
    {
        var victims = view.Node(ledger.Fleet.NodeAt(row)!.Id) is { } node ? RoomMakers.On(ledger, row, node.InstanceUids, request, view) : null;
        return new(ledger.Fleet.Order.StampOf(row), ledger.Leaving.Count, victims, victims is null ? default : Victims.CostOf(victims));
    }

    /// <param name="Stamp">The row's, then.</param>
    /// <param name="Leaving">How many had been told to leave, then.</param>
    /// <param name="Victims">Null when nobody there can make room.</param>
    private readonly record struct Look(long Stamp, int Leaving, IReadOnlyList<Victim>? Victims, (int Count, int Priority, TimeSpan Grace) Cost);
}
