using Hypervisor.Protocol;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Preemption;

/// <summary>Who has to make room on one node, found from what the fleet knows of the instances there: records are not read.</summary>
internal static class RoomMakers
{
    /// <param name="uids">Of the instances on the node.</param>
    /// <returns>Nobody where what makes room already is enough; null when all who may be told would not be, or as many as cannot be told together.</returns>
    public static IReadOnlyList<Victim>? On(FleetLedger ledger, int row, IEnumerable<string> uids, PlacementRequest request, ClusterView view)
    {
        var fleet = ledger.Fleet;
        ref var at = ref fleet.Row(row);
        var (free, devices) = (new ResourceAmount(at.FreeCpu, at.FreeMemory, at.FreeDisk), fleet.FreeDevicesAt(row));
        var yielded = default(ResourceAmount);
        var candidates = new List<(string Uid, Stay Stay)>();
        List<PortClaim>? taken = request.Ports.Count > 0 ? [.. fleet.PortsAt(row)] : null;
        foreach (var uid in uids)
        {
            if (fleet.Confirmed(uid) is not { } stay)
            {
                continue;
            }

            if (stay.Yields is Yielding.Leaves or Yielding.ComesToRest || (stay.CanYield && ledger.Leaving.Contains(uid)))
            {
                free += stay.Yielded;
                devices += stay.YieldedDevices;
                foreach (var port in stay.YieldedPorts)
                {
                    taken?.Remove(port);
                }
            }
            else if (stay.CanYield && stay.Priority < request.Priority)
            {
                yielded += stay.Yielded;
                candidates.Add((uid, stay));
            }
        }

        foreach (var stay in ledger.KeptForLesser(row, request.Priority))
        {
            free += stay.Amount;
            devices += stay.Devices;
            foreach (var port in stay.Ports)
            {
                taken?.Remove(port);
            }
        }

        if (!request.Reserve.FitsIn(free + yielded))
        {
            return null;
        }

        var chosen = Victims.Choose(
            request.Reserve - free,
            request.Devices.Beyond(devices),
            [.. (taken ?? []).Where(claim => request.Ports.Any(claim.ConflictsWith))],
            WithinBudgets(candidates, ledger.Leaving, view));

        // They are told all at once, or nobody is.
        return chosen is { Count: > Limits.Control.Victims } ? null : chosen;
    }

    /// <summary>So that the set as a whole keeps within the budget of each group, whoever of it is chosen.</summary>
    private static List<Victim> WithinBudgets(List<(string Uid, Stay Stay)> candidates, IReadOnlySet<string> leaving, ClusterView view)
    {
        var victims = new List<Victim>(candidates.Count);
        HashSet<InstanceId>? disturbed = null;
        foreach (var (uid, stay) in candidates)
        {
            if (stay.IsMember)
            {
                disturbed ??= [.. leaving.Select(other => new InstanceId(other))];
                if (view.Instance(new(uid)) is not { } instance || !DisruptionBudgets.MayDisturb(view, instance, disturbed))
                {
                    continue;
                }

                disturbed.Add(instance.Id);
            }

            victims.Add(new(uid, stay.Priority, stay.Yielded, stay.YieldedPorts, stay.Grace) { Devices = stay.YieldedDevices });
        }

        return victims;
    }
}
