using System.Buffers;
using System.Numerics;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// All requests of one size and one set of conditions on nodes: which rows fit, why the others do not, and the best of each place. Kept by
/// looking at what changed since it was last asked.
/// </summary>
internal sealed class RequestShape(Fleet fleet, PlacementRequest request, AbleNodes able, PlacePartition partition, int kept)
{
    private readonly PlacementStrategy _strategy = request.Strategy;
    private readonly ResourceAmount _amount = request.Reserve;
    private readonly IReadOnlyList<PortClaim> _ports = request.Ports;
    private readonly List<CandidateHeap> _heaps = [];
    private readonly RowPositions _positions = new();
    private readonly int[] _counts = new int[Verdicts.Count];
    private byte[] _verdicts = [];
    private int[] _parts = [];
    private long _stamp;
    private int _rows;

    public AbleNodes Able => able;

    public PlacePartition Partition => partition;

    /// <summary>Of the last look.</summary>
    public ReadOnlySpan<byte> RowVerdicts => _verdicts.AsSpan(0, _rows);

    /// <summary>How many nodes each filter refuses, and with <see cref="Verdicts.Fits"/> how many none does.</summary>
    public ReadOnlySpan<int> Counts => _counts;

    /// <summary>Brings everything up to the present.</summary>
    public void Refresh()
    {
        able.Refresh();
        partition.Refresh();
        if (_rows < fleet.RowCount)
        {
            Grow();
        }

        while (_heaps.Count < partition.Count)
        {
            _heaps.Add(new(fleet, _positions, kept));
        }

        var verdicts = able.OfRows;
        for (var row = fleet.Newest; row >= 0;)
        {
            ref var at = ref fleet.Row(row);
            if (at.Stamp <= _stamp)
            {
                break;
            }

            Look(row, ref at, verdicts[row]);
            row = at.Older;
        }

        _stamp = fleet.Clock;
    }

    /// <summary>Offers the best rows of one part that are not kept out, with a bonus for being there.</summary>
    /// <param name="keptOut">By row; null keeps none out.</param>
    public void Offer(int part, double bonus, KeptOut? keptOut, ref Ranking ranking)
    {
        var heap = _heaps[part];
        var before = ranking;
        var found = heap.IsMade ? heap.Offer(bonus, keptOut, ref ranking) : Listed.UsedUp;
        if (found == Listed.UsedUp)
        {
            // What is best now is among those that were not worth listing before.
            Make(part, heap);
            ranking = before;
            found = heap.Offer(bonus, keptOut, ref ranking);
        }

        if (found != Listed.Best)
        {
            ranking = before;
            OfferAll(part, bonus, keptOut, ref ranking);
        }
    }

    /// <summary>How good a row is that fits, by strategy and preferences of nodes.</summary>
    public double ScoreOf(int row) => Score(ref fleet.Row(row)) + able.BonusOf(row);

    /// <summary>Offers every row of a part that fits.</summary>
    private void OfferAll(int part, double bonus, KeptOut? keptOut, ref Ranking ranking)
    {
        for (var row = 0; row < _rows; row++)
        {
            if (_verdicts[row] == Verdicts.Fits && partition.PartOf(row) == part && keptOut?.Contains(row) != true)
            {
                ranking.Offer(fleet, row, ScoreOf(row) + bonus);
            }
        }
    }

    private void Look(int row, ref FleetRow at, byte verdict)
    {
        if (verdict == Verdicts.Fits)
        {
            verdict = Judge(row, ref at);
        }

        var before = _verdicts[row];
        if (verdict != before)
        {
            _counts[before]--;
            _counts[verdict]++;
            _verdicts[row] = verdict;
        }

        var part = partition.PartOf(row);
        if (_parts.Length > 0 && _parts[row] != part)
        {
            _heaps[_parts[row]].Remove(row);
            _parts[row] = part;
        }

        var heap = _heaps[part];
        if (!heap.IsMade)
        {
            return;
        }

        if (verdict == Verdicts.Fits)
        {
            heap.Set(new(Score(ref at) + able.BonusOf(row), row, at.Instances));
        }
        else
        {
            heap.Remove(row);
        }
    }

    private byte Judge(int row, ref FleetRow at)
    {
        foreach (var port in _ports)
        {
            if (fleet.HasPort(row, port))
            {
                return Verdicts.Ports;
            }
        }

        return _amount.CpuMillicores <= at.FreeCpu && _amount.MemoryBytes <= at.FreeMemory && _amount.DiskBytes <= at.FreeDisk ? Verdicts.Fits : Verdicts.Room;
    }

    private double Score(ref FleetRow at)
    {
        var cpu = Share(at.Cpu - at.FreeCpu + _amount.CpuMillicores, at.Cpu);
        var memory = Share(at.Memory - at.FreeMemory + _amount.MemoryBytes, at.Memory);
        return _strategy switch
        {
            PlacementStrategy.Spread => 1 - ((cpu + memory) / 2),
            PlacementStrategy.Balanced => (1 - ((cpu + memory) / 2) + 1 - Math.Abs(cpu - memory)) / 2,
            _ => (cpu + memory) / 2,
        };
    }

    private static double Share(long used, long capacity) => capacity <= 0 ? 1 : Math.Clamp((double)used / capacity, 0, 1);

    private void Make(int part, CandidateHeap heap)
    {
        var fitting = ArrayPool<Candidate>.Shared.Rent(_rows);
        var count = 0;
        var alone = partition.Count == 1;
        for (var row = 0; row < _rows; row++)
        {
            if (_verdicts[row] == Verdicts.Fits && (alone || partition.PartOf(row) == part))
            {
                fitting[count++] = new(ScoreOf(row), row, fleet.Row(row).Instances);
            }
        }

        heap.Make(fitting.AsSpan(0, count));
        ArrayPool<Candidate>.Shared.Return(fitting);
    }

    private void Grow()
    {
        var length = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(64, fleet.RowCount));
        if (_verdicts.Length < length)
        {
            Array.Resize(ref _verdicts, length);
            _positions.Grow(length);
            if (partition.Topologies.Count > 0)
            {
                Array.Resize(ref _parts, length);
            }
        }

        for (; _rows < fleet.RowCount; _rows++)
        {
            _verdicts[_rows] = Verdicts.NoNode;
            _counts[Verdicts.NoNode]++;
        }
    }
}

/// <summary>Rows that a request must not be given, whatever room they have.</summary>
internal sealed class KeptOut
{
    private readonly List<NeighbourCounter> _counters = [];

    public bool IsEmpty => _counters.Count == 0;

    public void Clear() => _counters.Clear();

    public void Add(NeighbourCounter counter) => _counters.Add(counter);

    public bool Contains(int row)
    {
        foreach (var counter in _counters)
        {
            if (counter.In(row) > 0)
            {
                return true;
            }
        }

        return false;
    }
}
