using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// The nodes as decisions need them: a row each, never moved, and the order in which rows last changed, so that a kind of request that was
/// decided before looks at nothing but what changed since. Not for concurrent use: its owner has a lock.
/// </summary>
internal sealed partial class Fleet
{
    /// <summary>Positions kept of nodes whose description changed; who is further behind looks at all nodes.</summary>
    private const int DescriptionLog = 4096;

    private readonly Dictionary<string, int> _rowOf = new(StringComparer.Ordinal);
    private readonly Stack<int> _vacant = new();
    private readonly List<int> _described = [];
    private int _avoided;
    private int _withDevices;
    private FleetRow[] _rows = [];
    private NodeDescription?[] _nodes = [];
    private List<PortClaim>?[] _ports = [];
    private DeviceAmounts[] _freeDevices = [];

    /// <summary>Rows in use and vacant ones together.</summary>
    public int RowCount { get; private set; }

    /// <summary>Nodes in the cluster.</summary>
    public int NodeCount { get; private set; }

    /// <summary>What may be placed on all nodes together.</summary>
    public ResourceAmount Capacity { get; private set; }

    /// <summary>When rows last changed.</summary>
    public RowOrder Order { get; } = new();

    /// <summary>Counts changes of descriptions.</summary>
    public long DescriptionClock { get; private set; }

    /// <summary>Some node is to be avoided where that can be had.</summary>
    public bool HasAvoided => _avoided > 0;

    /// <summary>Some node has devices.</summary>
    public bool HasDevices => _withDevices > 0;

    public ref FleetRow Row(int row) => ref _rows[row];

    /// <summary>Null for a row whose node is not in the cluster.</summary>
    public NodeDescription? NodeAt(int row) => _nodes[row];

    public IReadOnlyList<PortClaim> PortsAt(int row) => _ports[row] ?? (IReadOnlyList<PortClaim>)[];

    public bool HasPort(int row, PortClaim wanted)
    {
        if (_ports[row] is { } used)
        {
            foreach (var claim in used)
            {
                if (claim.ConflictsWith(wanted))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Of what may be placed. Below zero as <see cref="FleetRow.FreeCpu"/> may be.</summary>
    public DeviceAmounts FreeDevicesAt(int row) => _freeDevices[row];

    /// <summary>The version that is described, or null for a node that is not in the fleet.</summary>
    public (long Spec, long Registration, long Health)? VersionOf(NodeId id) =>
        _rowOf.TryGetValue(id.Value, out var row) ? _nodes[row]?.Version : null;

    /// <summary>A node joins, or is described anew.</summary>
    public void Describe(NodeDescription node)
    {
        var row = RowOf(node.Id);
        var before = _nodes[row];
        var capacity = node.Node.Capacity;
        var old = before?.Node.Capacity ?? default;
        ref var at = ref _rows[row];
        at.FreeCpu += capacity.CpuMillicores - old.CpuMillicores;
        at.FreeMemory += capacity.MemoryBytes - old.MemoryBytes;
        at.FreeDisk += capacity.DiskBytes - old.DiskBytes;
        (at.ShareOfCpu, at.ShareOfMemory) = (ShareOf(capacity.CpuMillicores), ShareOf(capacity.MemoryBytes));
        Capacity = Capacity + capacity - old;
        _freeDevices[row] += node.Node.Devices - (before?.Node.Devices ?? default);
        _nodes[row] = node;
        NodeCount += before is null ? 1 : 0;
        Note(before, -1);
        Note(node, 1);
        Redescribed(row);
    }

    /// <summary>A node is in the cluster no more. What is placed on it is still counted as placed somewhere.</summary>
    public void Remove(NodeId id)
    {
        if (!_rowOf.TryGetValue(id.Value, out var row) || _nodes[row] is not { } node)
        {
            return;
        }

        ref var at = ref _rows[row];
        at.FreeCpu -= node.Node.Capacity.CpuMillicores;
        at.FreeMemory -= node.Node.Capacity.MemoryBytes;
        at.FreeDisk -= node.Node.Capacity.DiskBytes;
        (at.ShareOfCpu, at.ShareOfMemory) = (0, 0);
        Capacity -= node.Node.Capacity;
        _freeDevices[row] -= node.Node.Devices;
        _nodes[row] = null;
        NodeCount--;
        Note(node, -1);
        Redescribed(row);
        Vacate(row, id.Value);
    }

    /// <summary>Rows whose description changed after that moment; null when that was too long ago.</summary>
    public IEnumerable<int>? DescribedSince(long clock)
    {
        var missed = DescriptionClock - clock;
        return missed > _described.Count ? null : _described.Skip(_described.Count - (int)missed);
    }

    /// <summary>Empty for a row whose node is not in the cluster.</summary>
    public string NameAt(int row) => _nodes[row]?.Node.Name ?? "";

    /// <summary>Fewer instances first, then names: equal inputs give equal answers on every replica.</summary>
    public bool IsBeforeAmongEquals(int row, int other) => _rows[row].Instances != _rows[other].Instances
        ? _rows[row].Instances < _rows[other].Instances
        : string.CompareOrdinal(_nodes[row]!.Node.Name, _nodes[other]!.Node.Name) < 0;

    /// <summary>Those in the cluster, in no order.</summary>
    public IEnumerable<NodeId> Nodes() => _nodes.Take(RowCount).OfType<NodeDescription>().Select(node => node.Id);

    /// <summary>All of them, by name.</summary>
    public IEnumerable<CandidateNode> Candidates() =>
        Enumerable.Range(0, RowCount).Select(CandidateAt).OfType<CandidateNode>().OrderBy(node => node.Name, StringComparer.Ordinal);

    /// <summary>The row of a node of the cluster; -1 for another.</summary>
    public int Find(NodeId id) => _rowOf.TryGetValue(id.Value, out var row) && _nodes[row] is not null ? row : -1;

    /// <summary>A node as the rules in words see it.</summary>
    public CandidateNode? CandidateAt(int row) => _nodes[row] is not { Node: var node }
        ? null
        : node with
        {
            Allocated = new(node.Capacity.CpuMillicores - _rows[row].FreeCpu, node.Capacity.MemoryBytes - _rows[row].FreeMemory, node.Capacity.DiskBytes - _rows[row].FreeDisk),
            InstanceCount = _rows[row].Instances,
            UsedPorts = PortsAt(row),
            AllocatedDevices = node.Devices - _freeDevices[row],
        };

    private static double ShareOf(long amount) => amount > 0 ? 1.0 / amount : 0;

    private int RowOf(NodeId id)
    {
        if (_rowOf.TryGetValue(id.Value, out var row))
        {
            return row;
        }

        if (!_vacant.TryPop(out row))
        {
            row = RowCount++;
            if (row == _rows.Length)
            {
                var length = Math.Max(64, row * 2);
                Array.Resize(ref _rows, length);
                Array.Resize(ref _nodes, length);
                Array.Resize(ref _ports, length);
                Array.Resize(ref _freeDevices, length);
                Order.Grow(length);
            }
        }

        _rowOf.Add(id.Value, row);
        Order.Touch(row);
        return row;
    }

    /// <summary>A row is given to another node only when nothing is left that means the old one.</summary>
    private void Vacate(int row, string uid)
    {
        if (_nodes[row] is null && _rows[row].Instances == 0)
        {
            _rowOf.Remove(uid);
            _vacant.Push(row);
        }
    }

    private void Redescribed(int row)
    {
        foreach (var topology in _neighbours.Topologies)
        {
            if (topology.Set(row, _nodes[row]?.Node) && _rows[row].Instances > 0)
            {
                Recount(topology);
            }
        }

        if (_described.Count == DescriptionLog * 2)
        {
            _described.RemoveRange(0, DescriptionLog);
        }

        _described.Add(row);
        DescriptionClock++;
        Order.Touch(row);
    }

    /// <summary>Counts what makes a node better or worse than others for whoever asks.</summary>
    private void Note(NodeDescription? description, int change)
    {
        if (description is { Node: var node })
        {
            _avoided += node.Taints.Any(taint => taint.Effect == TaintEffect.PreferNoSchedule) ? change : 0;
            _withDevices += node.Devices.IsNone ? 0 : change;
        }
    }
}
