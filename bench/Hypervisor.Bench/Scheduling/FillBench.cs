using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// How full bin-packing makes a fleet before it refuses, divided by what a scan of every node for every request does: requests of 200 shapes are
/// offered to both until a thousand in a row have been refused.
/// </summary>
internal static class FillBench
{
    private const int Nodes = 1_000;
    private const int Shapes = 200;
    private const int MaxRequests = 1_000_000;
    private const int RefusedInARow = 1_000;

    public static Task RunAsync()
    {
        var workload = new Workload(Nodes);
        var shapes = workload.Shapes(Shapes);
        var order = workload.Skewed(Shapes, MaxRequests);
        var ours = Fill(shapes, order, new Decisions(workload.NewFleet()));
        var oracle = Fill(shapes, order, new FullScan(workload.NewFleet()));
        Metric.Print("scheduler.quality_filled_cpus", ours.CpuMillicores / 1000.0, "CPUs");
        Metric.Print("scheduler.quality_filled_cpus_oracle", oracle.CpuMillicores / 1000.0, "CPUs");
        Metric.Print(
            "scheduler.quality_fill_ratio_oracle",
            Math.Min((double)ours.CpuMillicores / oracle.CpuMillicores, (double)ours.MemoryBytes / oracle.MemoryBytes), "ratio");
        return Task.CompletedTask;
    }

    private static ResourceAmount Fill(IReadOnlyList<PlacementRequest> shapes, int[] order, IFiller filler)
    {
        var (filled, refused) = (default(ResourceAmount), 0);
        for (var index = 0; index < order.Length && refused < RefusedInARow; index++)
        {
            var request = shapes[order[index]];
            if (filler.Place(request, index))
            {
                (filled, refused) = (filled + request.Reserve, 0);
            }
            else
            {
                refused++;
            }
        }

        return filled;
    }

    private interface IFiller
    {
        /// <summary>False when nothing has room.</summary>
        bool Place(PlacementRequest request, int index);
    }

    /// <summary>As the server decides.</summary>
    private sealed class Decisions(Fleet fleet) : IFiller
    {
        private readonly RequestClasses _classes = new(fleet);

        public bool Place(PlacementRequest request, int index)
        {
            var known = _classes.Of(request);
            var ranking = known.Decide(fleet, _classes);
            if (ranking.First < 0)
            {
                return false;
            }

            fleet.Reserve(new($"i-{index}"), new(fleet.NodeAt(ranking.First)!.Id, request.Reserve, known.Kind, []));
            return true;
        }
    }

    /// <summary>Every node for every request, by what docs/scheduling.md says of bin-packing: the fullest that fits.</summary>
    private sealed class FullScan(Fleet fleet) : IFiller
    {
        private readonly CandidateNode[] _nodes = [.. fleet.Candidates()];

        public bool Place(PlacementRequest request, int index)
        {
            var (best, score) = (-1, double.NegativeInfinity);
            for (var at = 0; at < _nodes.Length; at++)
            {
                var node = _nodes[at];
                if (request.Reserve.FitsIn(node.Free) && ScoreOf(node, request.Reserve) is var fullness
                    && (fullness > score || (fullness == score && node.InstanceCount < _nodes[best].InstanceCount)))
                {
                    (best, score) = (at, fullness);
                }
            }

            if (best < 0)
            {
                return false;
            }

            _nodes[best] = _nodes[best] with { Allocated = _nodes[best].Allocated + request.Reserve, InstanceCount = _nodes[best].InstanceCount + 1 };
            return true;
        }

        private static double ScoreOf(CandidateNode node, ResourceAmount asked)
        {
            var then = node.Allocated + asked;
            return (((double)then.CpuMillicores / node.Capacity.CpuMillicores) + ((double)then.MemoryBytes / node.Capacity.MemoryBytes)) / 2;
        }
    }
}
