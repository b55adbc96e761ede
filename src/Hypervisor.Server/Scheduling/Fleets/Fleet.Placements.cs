using System.Runtime.InteropServices;
using Hypervisor.Protocol;

namespace Hypervisor.Server.Scheduling.Fleets;

internal sealed partial class Fleet
{
    /// <summary>Among so many it is looked whether there is one that is the same.</summary>
    private const int RecentStays = 4096;

    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private readonly Stay?[] _recent = new Stay?[RecentStays];
    private readonly NeighbourIndex _neighbours = new();
    private readonly SortedDictionary<(int Priority, TimeSpan Grace), int> _yielding = [];

    public NeighbourIndex Neighbours => _neighbours;

    /// <summary>Of the instances that make room or could the lowest priority, and with it the shortest time to stop; above all there are when none can.</summary>
    public (int Priority, TimeSpan Grace) Cheapest => _yielding.Count == 0 ? (int.MaxValue, TimeSpan.MaxValue) : _yielding.Keys.First();

    /// <summary>What the store says of an instance; null when that is that it is nowhere.</summary>
    public Stay? Confirmed(string uid) => _entries.GetValueOrDefault(uid).Confirmed;

    /// <summary>Told of what may help those that wait; null while nobody does.</summary>
    public FleetNews? News { get; set; }

    /// <summary>What the store says of an instance: where it is, or that it is nowhere. A reservation for it stays what it is.</summary>
    public void Confirm(InstanceId id, Stay? stay)
    {
        var entry = _entries.GetValueOrDefault(id.Value);
        if (entry is { Confirmed: null, Reserved: not null })
        {
            // From now on under the store's text of the uid, which others keep too, and no longer under that of who decided.
            _entries.Remove(id.Value);
        }

        Change(id, entry, Shared(stay), entry.Reserved);
    }

    /// <summary>What is decided and not yet seen in the store. Of an instance that is there already, how much it will have.</summary>
    /// <param name="row">Of the stay's node, from whoever has just chosen it; -1 to look for it, which in a large fleet takes as long as everything else here.</param>
    public void Reserve(InstanceId id, Stay stay, int row = -1)
    {
        ref var entry = ref CollectionsMarshal.GetValueRefOrAddDefault(_entries, id.Value, out _);
        var before = entry;
        entry = new(before.Confirmed, stay);
        Changed(before, entry, row);
    }

    /// <summary>Only what the store says counts from now on.</summary>
    public void Unreserve(InstanceId id)
    {
        var entry = _entries.GetValueOrDefault(id.Value);
        Change(id, entry, entry.Confirmed, null);
    }

    /// <summary>What would be so if an instance were nowhere: it is taken out while that is asked, and nobody who waits hears of it.</summary>
    public T Without<T>(InstanceId id, Func<T> ask)
    {
        if (!_entries.TryGetValue(id.Value, out var entry))
        {
            return ask();
        }

        var (confirmed, reserved, news) = (entry.Confirmed, entry.Reserved, News);
        News = null;
        try
        {
            Change(id, entry, null, null);
            return ask();
        }
        finally
        {
            Change(id, _entries.GetValueOrDefault(id.Value), confirmed, reserved);
            News = news;
        }
    }

    /// <summary>Every instance that counts, in no order.</summary>
    public IEnumerable<(string Uid, Stay Stay)> Stays()
    {
        foreach (var (uid, entry) in _entries)
        {
            foreach (var stay in entry.Counted())
            {
                yield return (uid, stay);
            }
        }
    }

    public InstanceKind KindOf(string project, IReadOnlyDictionary<string, string> labels, IReadOnlyList<NeighbourTerm> antiAffinity) =>
        _neighbours.Kind(project, labels, antiAffinity, Topology);

    public TopologyIndex Topology(string name) => _neighbours.Topology(name, index =>
    {
        for (var row = 0; row < RowCount; row++)
        {
            index.Set(row, _nodes[row]?.Node);
        }
    });

    public NeighbourCounter Counter(string project, NeighbourTerm term) => Counter(project, term.Text, term.Selector, term.Topology);

    public NeighbourCounter Counter(string project, SpreadTerm term) => Counter(project, term.Text, term.Selector, term.Topology);

    private NeighbourCounter Counter(string project, string text, Api.Lists.LabelSelector selector, string topology)
    {
        var (counter, isNew) = _neighbours.Counter(project, text, selector, Topology(topology));
        if (isNew)
        {
            Count(counter);
        }

        return counter;
    }

    private void Count(NeighbourCounter counter)
    {
        foreach (var entry in _entries.Values)
        {
            foreach (var stay in entry.Counted())
            {
                if (counter.Selects(stay.Kind))
                {
                    counter.Add(_rowOf[stay.Node.Value], 1);
                }
            }
        }
    }

    /// <summary>A node with instances became part of another place.</summary>
    private void Recount(TopologyIndex topology)
    {
        foreach (var counter in _neighbours.Counters.Where(counter => counter.Topology == topology))
        {
            counter.Clear();
            Count(counter);
        }

        foreach (var keeper in _neighbours.Keepers.Where(keeper => keeper.Topology == topology))
        {
            keeper.Clear();
            foreach (var (_, stay) in Stays())
            {
                if (stay.Kind.Keepers.Contains(keeper))
                {
                    keeper.Add(_rowOf[stay.Node.Value], 1);
                }
            }
        }
    }

    /// <summary>Instances that are alike on one node have one object between them.</summary>
    private Stay? Shared(Stay? stay)
    {
        if (stay is null)
        {
            return null;
        }

        ref var recent = ref _recent[(uint)stay.GetHashCode() % RecentStays];
        return recent == stay ? recent : recent = stay;
    }

    private void Change(InstanceId id, Entry entry, Stay? confirmed, Stay? reserved)
    {
        var now = new Entry(confirmed, reserved);
        if (confirmed is null && reserved is null)
        {
            _entries.Remove(id.Value);
        }
        else
        {
            _entries[id.Value] = now;
        }

        Changed(entry, now, -1);
    }

    /// <param name="reservedRow">Of the node that is reserved now; -1 to look for it.</param>
    private void Changed(Entry entry, Entry now, int reservedRow)
    {
        var before = entry.Counted();
        foreach (var stay in before)
        {
            Take(stay, RowOf(stay.Node), -1);
        }

        var after = now.Counted();
        foreach (var stay in after)
        {
            Take(stay, reservedRow >= 0 && stay.Node == now.Reserved!.Node ? reservedRow : RowOf(stay.Node), 1);
        }

        if (News is { } news)
        {
            Tell(news, before, after);
        }

        Vacate(entry.Confirmed);
        Vacate(entry.Reserved);
    }

    private void Tell(FleetNews news, CountedStays before, CountedStays after)
    {
        foreach (var stay in before)
        {
            news.Note(stay, after.On(stay.Node), left => _rowOf[left.Node.Value]);
        }

        foreach (var stay in after)
        {
            if (before.On(stay.Node) is null)
            {
                news.Note(null, stay, left => _rowOf[left.Node.Value]);
            }
        }
    }

    private void Count(Stay stay, int change)
    {
        if (stay.Yields == Yielding.Stays)
        {
            return;
        }

        var key = (stay.Priority, stay.Grace);
        var count = _yielding.GetValueOrDefault(key) + change;
        if (count == 0)
        {
            _yielding.Remove(key);
        }
        else
        {
            _yielding[key] = count;
        }
    }

    private void Vacate(Stay? stay)
    {
        if (stay is not null && _rowOf.TryGetValue(stay.Node.Value, out var row))
        {
            Vacate(row, stay.Node.Value);
        }
    }

    private void Take(Stay stay, int row, int sign)
    {
        ref var at = ref _rows[row];
        at.FreeCpu -= sign * stay.Amount.CpuMillicores;
        at.FreeMemory -= sign * stay.Amount.MemoryBytes;
        at.FreeDisk -= sign * stay.Amount.DiskBytes;
        at.Instances += sign;
        if (stay.Ports.Count > 0)
        {
            var ports = _ports[row] ??= [];
            foreach (var port in stay.Ports)
            {
                if (sign > 0)
                {
                    ports.Add(port);
                }
                else
                {
                    ports.Remove(port);
                }
            }
        }

        if (!stay.Devices.IsNone)
        {
            _freeDevices[row] = sign > 0 ? _freeDevices[row] - stay.Devices : _freeDevices[row] + stay.Devices;
        }

        Count(stay, sign);
        stay.Kind.Placed += sign;
        stay.Kind.Usage.Add(stay.Amount, sign);
        foreach (var counter in stay.Kind.CountedBy(_neighbours))
        {
            counter.Add(row, sign);
        }

        foreach (var keeper in stay.Kind.Keepers)
        {
            keeper.Add(row, sign);
        }

        Order.Touch(row);
    }

    private readonly record struct Entry(Stay? Confirmed, Stay? Reserved)
    {
        /// <summary>
        /// Where it counts, and with how much: once where both are on one node, with the larger of each, so that neither a decision that the
        /// store shows already nor one about a larger instance is counted twice.
        /// </summary>
        public CountedStays Counted() => (Confirmed, Reserved) switch
        {
            ({ } there, { } decided) when there.Node == decided.Node => new(there.Or(decided), null),
            _ => new(Confirmed ?? Reserved, Confirmed is null ? null : Reserved),
        };
    }

    /// <summary>None, one or two, without an allocation.</summary>
    private readonly struct CountedStays(Stay? first, Stay? second)
    {
        public Enumerator GetEnumerator() => new(first, second);

        public Stay? On(NodeId node) => first?.Node == node ? first : second?.Node == node ? second : null;

        public struct Enumerator(Stay? first, Stay? second)
        {
            private int _position = -1;

            public readonly Stay Current => (_position == 0 ? first : second)!;

            public bool MoveNext() => ++_position switch
            {
                0 => first is not null,
                1 => second is not null,
                _ => false,
            };
        }
    }
}

/// <summary>One instance on one node.</summary>
/// <param name="Amount">What it holds of the node.</param>
internal sealed record Stay(NodeId Node, ResourceAmount Amount, InstanceKind Kind, IReadOnlyList<PortClaim> Ports)
{
    /// <summary>Likewise.</summary>
    public DeviceAmounts Devices { get; init; }

    public int Priority { get; init; }

    /// <summary>Whether others could get what it holds.</summary>
    public Yielding Yields { get; init; }

    /// <summary>How long it may take to stop.</summary>
    public TimeSpan Grace { get; init; }

    /// <summary>It belongs to a group, which may not let it be disturbed.</summary>
    public bool IsMember { get; init; }

    public bool CanYield => Yields is Yielding.CanLeave or Yielding.CanRest;

    /// <summary>What is free once it has left, or rests: who rests keeps its disks, and its ports.</summary>
    public ResourceAmount Yielded => Yields switch
    {
        Yielding.CanLeave or Yielding.Leaves => Amount,
        Yielding.CanRest or Yielding.ComesToRest => Amount with { DiskBytes = 0 },
        _ => default,
    };

    public DeviceAmounts YieldedDevices => Yields == Yielding.Stays ? default : Devices;

    public IReadOnlyList<PortClaim> YieldedPorts => Yields is Yielding.CanLeave or Yielding.Leaves ? Ports : [];

    /// <summary>Whether it holds at least as much as the other one did.</summary>
    public bool Covers(Stay other) => other.Amount.FitsIn(Amount) && other.Devices.FitsIn(Devices) && other.Ports.All(Ports.Contains);

    /// <summary>With the larger of each amount and of each device, and the ports of both.</summary>
    public Stay Or(Stay other) => new(
        Node,
        new(
            Math.Max(Amount.CpuMillicores, other.Amount.CpuMillicores),
            Math.Max(Amount.MemoryBytes, other.Amount.MemoryBytes),
            Math.Max(Amount.DiskBytes, other.Amount.DiskBytes)),
        Kind,
        other.Ports.Count == 0 ? Ports : Ports.Count == 0 ? other.Ports : [.. Ports.Union(other.Ports)])
    {
        Devices = Devices.Or(other.Devices),
        Priority = Priority,
        Yields = Yields,
        Grace = Grace,
        IsMember = IsMember,
    };
}
