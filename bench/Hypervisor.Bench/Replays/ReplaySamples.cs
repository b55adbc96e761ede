using Hypervisor.Bench.Fleets;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Bench.Replays;

/// <summary>Looks at the whole fleet at even distances of the trace's time, and at its end.</summary>
internal sealed class ReplaySamples
{
    /// <summary>Each looks at every node, so that a trace of days on thousands of nodes takes seconds.</summary>
    private const int Count = 500;

    private readonly Fleet _fleet;
    private readonly DemandTrace _trace;
    private readonly ResourceAmount _whole;
    private readonly ResourceAmount _typical;
    private readonly List<Sample> _samples = [];

    public ReplaySamples(Fleet fleet, IReadOnlyList<SimulatedNode> nodes, DemandTrace trace)
    {
        (_fleet, _trace) = (fleet, trace);
        _whole = nodes.Aggregate(default(ResourceAmount), (sum, node) => sum + Replay.ResourcesOf(node));
        var asked = trace.Events.Where(each => each.Wanted is not null).Select(each => each.Wanted!.Spec.Resources).ToList();
        _typical = asked.Count == 0
            ? default
            : new(MedianOf(asked.Select(each => each.CpuMillicores)), MedianOf(asked.Select(each => each.MemoryBytes)), 0);
    }

    /// <summary>Everything before this moment has happened.</summary>
    public void Pass(TimeSpan moment)
    {
        while (_samples.Count < Count && _trace.Lasts * _samples.Count / Count < moment)
        {
            _samples.Add(Take());
        }
    }

    public void WriteTo(ReplayResult result)
    {
        _samples.Add(Take());
        (result.CpuMean, result.CpuPeak) = (_samples.Average(sample => sample.Cpu), _samples.Max(sample => sample.Cpu));
        (result.MemoryMean, result.MemoryPeak) = (_samples.Average(sample => sample.Memory), _samples.Max(sample => sample.Memory));
        result.Fragmentation = _samples.Average(sample => sample.Fragmentation);
        result.EmptyNodes = _samples.Average(sample => sample.EmptyNodes);
    }

    private Sample Take()
    {
        var (used, free, room, empty) = (default(ResourceAmount), default(ResourceAmount), 0L, 0);
        for (var row = 0; row < _fleet.RowCount; row++)
        {
            ref var at = ref _fleet.Row(row);
            var left = new ResourceAmount(at.FreeCpu, at.FreeMemory, 0);
            free += left;
            used += _fleet.NodeAt(row)!.Node.Capacity - left;
            room += RoomIn(left);
            empty += at.Instances == 0 ? 1 : 0;
        }

        var inOnePiece = RoomIn(free);
        return new(
            (double)used.CpuMillicores / _whole.CpuMillicores, (double)used.MemoryBytes / _whole.MemoryBytes,
            inOnePiece == 0 ? 0 : 1 - ((double)room / inOnePiece), empty);
    }

    /// <summary>How many typical instances fit.</summary>
    private long RoomIn(ResourceAmount free) => _typical.CpuMillicores == 0 || _typical.MemoryBytes == 0
        ? 0
        : Math.Max(0, Math.Min(free.CpuMillicores / _typical.CpuMillicores, free.MemoryBytes / _typical.MemoryBytes));

    private static long MedianOf(IEnumerable<long> values) => values.Order().ToList() is var sorted ? sorted[sorted.Count / 2] : 0;

    private readonly record struct Sample(double Cpu, double Memory, double Fragmentation, int EmptyNodes);
}
