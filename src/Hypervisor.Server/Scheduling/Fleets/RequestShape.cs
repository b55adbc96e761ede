using System.Buffers;
using System.Numerics;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// All requests of one size and one set of conditions on nodes: which rows fit, why the others do not, and the best of each place. Kept by
/// looking at what changed since it was last asked.
/// </summary>
/// <param name="states">Its own until it is forgotten.</param>
internal sealed class RequestShape(Fleet fleet, PlacementRequest request, AbleNodes able, PlacePartition partition, RowStates states, int kept)
{
    /// <summary>Rows that are asked how good one has to be.</summary>
    private const int SampleSize = 1024;

    private readonly PlacementStrategy _strategy = request.Strategy;
    private readonly ResourceAmount _amount = request.Reserve;
    private readonly PortClaim[] _ports = [.. request.Ports];
    private readonly DeviceAmounts _devices = request.Devices;
    private readonly List<CandidateList> _lists = [];
    private readonly int[] _counts = new int[Verdicts.Count];
    private int[] _parts = [];
    private long _stamp;
    private int _rows;

    public AbleNodes Able => able;

    public PlacePartition Partition => partition;

    public RowStates States => states;

    /// <summary>Nobody asked for it for long: its states are another's now.</summary>
    public bool IsForgotten { get; set; }

    /// <summary>Whether a row fits, as of the last look.</summary>
    public bool Fits(int row) => states.VerdictOf(row) == Verdicts.Fits;

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

        while (_lists.Count < partition.Count)
        {
            _lists.Add(new(fleet, states, kept));
        }

        var verdicts = able.OfRows;
        Span<int> changed = stackalloc int[64];
        for (var from = fleet.Order.Newest; from >= 0;)
        {
            foreach (var row in changed[..fleet.Order.ChangedSince(_stamp, from, changed, out from)])
            {
                Look(row, ref fleet.Row(row), verdicts[row]);
            }
        }

        _stamp = fleet.Order.Clock;
    }

    /// <summary>Offers the best rows of one part that are not kept out, with a bonus for being there.</summary>
    /// <param name="keptOut">By row; null keeps none out.</param>
    public void Offer(int part, double bonus, KeptOut? keptOut, ref Ranking ranking)
    {
        var list = _lists[part];
        var before = ranking;
        var found = list.IsMade ? list.Offer(bonus, keptOut, ref ranking) : Listed.UsedUp;
        if (found == Listed.UsedUp)
        {
            // What is best now is among those that were not worth listing before.
            Make(part, list);
            ranking = before;
            found = list.Offer(bonus, keptOut, ref ranking);
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

    private void Look(int row, ref FleetRow at, byte verdict)
    {
        if (verdict == Verdicts.Fits)
        {
            verdict = Judge(row, ref at);
        }

        var before = states.VerdictOf(row);
        if (verdict != before)
        {
            _counts[before]--;
            _counts[verdict]++;
        }

        var part = partition.PartOf(row);
        if (_parts.Length > 0 && _parts[row] != part)
        {
            // Not only the row: what is sorted in one list may not be in another as well, for a row has one state.
            _lists[_parts[row]].Drop();
            _parts[row] = part;
        }

        if (verdict != Verdicts.Fits)
        {
            _lists[part].Remove(row);
            states.SetVerdict(row, verdict);
            return;
        }

        if (before != Verdicts.Fits)
        {
            states.SetVerdict(row, Verdicts.Fits);
        }

        if (_lists[part].IsMade)
        {
            _lists[part].Set(new(Score(ref at) + able.BonusOf(row), row, at.Instances));
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

    private void Make(int part, CandidateList list)
    {
        var fitting = ArrayPool<Candidate>.Shared.Rent(_rows);
        var (count, enough, leftOut) = (0, Enough(part), new Candidate(double.NegativeInfinity, -1, 0));
        for (var row = 0; row < _rows; row++)
        {
            if (!IsIn(part, row))
            {
                continue;
            }

            var candidate = new Candidate(ScoreOf(row), row, fleet.Row(row).Instances);
            if (candidate.Score >= enough)
            {
                fitting[count++] = candidate;
            }
            else if (candidate.Score >= leftOut.Score && (leftOut.Row < 0 || list.IsBetter(candidate, leftOut)))
            {
                leftOut = candidate;
            }
        }

        list.Make(fitting.AsSpan(0, count), leftOut.Row < 0 ? null : leftOut);
        ArrayPool<Candidate>.Shared.Return(fitting);
    }

    /// <summary>
    /// A score that about one and a half times as many rows reach as are kept, guessed from a sample: of a large fleet the others need not be compared with
    /// each other. It is no more than a guess, and need not be.
    /// </summary>
    private double Enough(int part)
    {
        if (_rows < 4 * kept)
        {
            return double.NegativeInfinity;
        }

        Span<double> scores = stackalloc double[SampleSize];
        var count = 0;
        for (var place = 0; place < SampleSize; place++)
        {
            var row = (int)((long)place * _rows / SampleSize);
            if (IsIn(part, row))
            {
                scores[count++] = ScoreOf(row);
            }
        }

        scores[..count].Sort();
        var wanted = (int)(1.5 * kept * SampleSize / _rows);
        return wanted < count ? scores[count - 1 - wanted] : double.NegativeInfinity;
    }

    private bool IsIn(int part, int row) => Fits(row) && (partition.Count == 1 || partition.PartOf(row) == part);

    private void Grow()
    {
        var length = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(64, fleet.RowCount));
        states.Block.Grow(length);
        if (partition.Topologies.Count > 0)
        {
            Array.Resize(ref _parts, length);
            for (var row = _rows; row < fleet.RowCount; row++)
            {
                _parts[row] = partition.PartOf(row);
            }
        }

        _counts[Verdicts.NoNode] += fleet.RowCount - _rows;
        _rows = fleet.RowCount;
    }
}
