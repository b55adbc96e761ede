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
    /// <summary>Changed rows that are looked at together.</summary>
    private const int AtOnce = 64;

    private readonly PlacementStrategy _strategy = request.Strategy;
    private readonly ResourceAmount _amount = request.Reserve;
    private readonly IReadOnlyList<PortClaim> _ports = request.Ports;
    private readonly DeviceAmounts _devices = request.Devices;
    private readonly List<CandidateHeap> _heaps = [];
    private readonly RowStates _states = new();
    private readonly int[] _counts = new int[Verdicts.Count];
    private int[] _parts = [];
    private double _touched;
    private long _stamp;
    private int _rows;

    public AbleNodes Able => able;

    public PlacePartition Partition => partition;

    /// <summary>Whether a row fits, as of the last look.</summary>
    public bool Fits(int row) => _states.VerdictOf(row) == Verdicts.Fits;

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
            _heaps.Add(new(fleet, _states, kept));
        }

        Span<int> changed = stackalloc int[AtOnce];
        for (var row = fleet.Newest; row >= 0;)
        {
            var count = 0;
            for (; row >= 0 && count < AtOnce && fleet.Row(row).Stamp > _stamp; row = fleet.Row(row).Older)
            {
                changed[count++] = row;
            }

            if (count == 0)
            {
                break;
            }

            Look(changed[..count]);
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
            if (Fits(row) && partition.PartOf(row) == part && keptOut?.Contains(row) != true)
            {
                ranking.Offer(fleet, row, ScoreOf(row) + bonus);
            }
        }
    }

    /// <summary>
    /// What a shape has of a row is rarely in the processor's cache, in a large fleet. Read for several rows before anything depends on it, it is
    /// waited for once: a tenth of a decision at 100,000 nodes.
    /// </summary>
    private void Look(ReadOnlySpan<int> rows)
    {
        if (_parts.Length == 0 && _heaps[0].IsMade)
        {
            var sum = 0.0;
            foreach (var row in rows)
            {
                var state = _states[row];
                sum += state < RowStates.Unlisted ? _heaps[0].ScoreAt(state) : 0;
            }

            _touched = sum;
        }

        var verdicts = able.OfRows;
        foreach (var row in rows)
        {
            Look(row, ref fleet.Row(row), verdicts[row]);
        }
    }

    private void Look(int row, ref FleetRow at, byte verdict)
    {
        if (verdict == Verdicts.Fits)
        {
            verdict = Judge(row, ref at);
        }

        var before = _states.VerdictOf(row);
        if (verdict != before)
        {
            _counts[before]--;
            _counts[verdict]++;
        }

        var part = partition.PartOf(row);
        if (_parts.Length > 0 && _parts[row] != part)
        {
            _heaps[_parts[row]].Remove(row);
            _parts[row] = part;
        }

        if (verdict != Verdicts.Fits)
        {
            _heaps[part].Remove(row);
            _states.SetVerdict(row, verdict);
            return;
        }

        if (before != Verdicts.Fits)
        {
            _states.SetVerdict(row, Verdicts.Fits);
        }

        if (_heaps[part].IsMade)
        {
            _heaps[part].Set(new(Score(ref at) + able.BonusOf(row), row, at.Instances));
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

        if (_amount.CpuMillicores > at.FreeCpu || _amount.MemoryBytes > at.FreeMemory || _amount.DiskBytes > at.FreeDisk)
        {
            return Verdicts.Room;
        }

        return _devices.IsNone || _devices.FitsIn(fleet.FreeDevicesAt(row)) ? Verdicts.Fits : Verdicts.Devices;
    }

    /// <summary>Of a row that fits: neither share is above one then.</summary>
    private double Score(ref FleetRow at)
    {
        var cpu = 1 - ((at.FreeCpu - _amount.CpuMillicores) * at.ShareOfCpu);
        var memory = 1 - ((at.FreeMemory - _amount.MemoryBytes) * at.ShareOfMemory);
        return _strategy switch
        {
            PlacementStrategy.Spread => 1 - ((cpu + memory) / 2),
            PlacementStrategy.Balanced => (1 - ((cpu + memory) / 2) + 1 - Math.Abs(cpu - memory)) / 2,
            _ => (cpu + memory) / 2,
        };
    }

    private void Make(int part, CandidateHeap heap)
    {
        var fitting = ArrayPool<Candidate>.Shared.Rent(_rows);
        var count = 0;
        var alone = partition.Count == 1;
        for (var row = 0; row < _rows; row++)
        {
            if (Fits(row) && (alone || partition.PartOf(row) == part))
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
        _states.Grow(length);
        if (partition.Topologies.Count > 0)
        {
            Array.Resize(ref _parts, length);
        }

        _counts[Verdicts.NoNode] += fleet.RowCount - _rows;
        _rows = fleet.RowCount;
    }
}
