using System.Globalization;
using System.Text;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>The classes of requests that are asked for, and what they share. Bounded: those not asked for longest are forgotten.</summary>
/// <param name="kept">
/// How many survive when there are twice as many. One with a shape of its own costs two bytes for each row (of which 32 shapes share a block) and
/// sixteen for each candidate, once as it was and once more when it has changed: at most 280 KB at 10,000 nodes, and twice so many are 280 MB.
/// </param>
/// <param name="candidates">As <see cref="CandidateList"/> has it: all rows of a fleet of twice as many.</param>
internal sealed class RequestClasses(Fleet fleet, int kept = 512, int candidates = 4096)
{
    private readonly Dictionary<string, RequestClass> _classes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, RequestShape> _shapes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, AbleNodes> _able = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PlacePartition> _partitions = new(StringComparer.Ordinal);
    private readonly RowStateBlocks _states = new();
    private long _clock;
    private int _ids;

    public int Count => _classes.Count;

    public int ShapeCount => _shapes.Count;

    public RequestClass Of(PlacementRequest request) => Of(request, KeyOf(request));

    /// <param name="key">Of the request, as <see cref="KeyOf"/> has it.</param>
    public RequestClass Of(PlacementRequest request, string key)
    {
        if (!_classes.TryGetValue(key, out var known))
        {
            if (_classes.Count >= kept * 2)
            {
                Trim();
            }

            var kind = fleet.KindOf(request.Project, request.Labels, request.AntiAffinity);
            var rules = Rules(request, kind);
            rules.ForEach(rule => rule.Counter.Users++);
            _classes.Add(key, known = new(++_ids, request, kind, rules));
        }

        known.UsedAt = ++_clock;
        return known;
    }

    /// <summary>The shape of a request, with its rows parted by kinds of places.</summary>
    public RequestShape ShapeOf(PlacementRequest request, IReadOnlyList<TopologyIndex> topologies)
    {
        var parts = string.Join('\t', topologies.Select(topology => topology.Topology));
        var key = ShapeKey(request) + "\n" + parts;
        if (!_shapes.TryGetValue(key, out var shape))
        {
            if (!_partitions.TryGetValue(parts, out var partition))
            {
                _partitions.Add(parts, partition = new(fleet, topologies));
            }

            var ableKey = AbleKey(request);
            if (!_able.TryGetValue(ableKey, out var able))
            {
                _able.Add(ableKey, able = new(fleet, request));
            }

            _shapes.Add(key, shape = new(fleet, request, able, partition, _states.Take(), candidates));
        }

        return shape;
    }

    private List<NeighbourRule> Rules(PlacementRequest request, InstanceKind kind)
    {
        var rules = new List<NeighbourRule>();
        foreach (var term in request.Affinity)
        {
            var counter = fleet.Counter(request.Project, term);
            rules.Add(new(NeighbourRuleKind.Affinity, counter, term.Preferred, counter.Selects(kind)));
        }

        foreach (var term in request.AntiAffinity)
        {
            var counter = fleet.Counter(request.Project, term);
            rules.Add(new(NeighbourRuleKind.AntiAffinity, counter, term.Preferred, counter.Selects(kind)));
        }

        foreach (var term in request.Spread)
        {
            var counter = fleet.Counter(request.Project, term);
            rules.Add(new(NeighbourRuleKind.Spread, counter, term.Preferred, counter.Selects(kind), term.MaxSkew));
        }

        return rules;
    }

    private void Trim()
    {
        foreach (var (key, old) in _classes.OrderBy(entry => entry.Value.UsedAt).Take(_classes.Count - kept).ToList())
        {
            _classes.Remove(key);
            foreach (var rule in old.Rules)
            {
                rule.Counter.Users--;
            }
        }

        var used = _classes.Values.Select(known => known.Shape).ToHashSet();
        foreach (var (key, old) in _shapes.Where(entry => !used.Contains(entry.Value)).ToList())
        {
            _shapes.Remove(key);
            old.IsForgotten = true;
            _states.GiveBack(old.States);
        }

        var parted = _shapes.Values.Select(shape => shape.Partition).ToHashSet();
        foreach (var (key, _) in _partitions.Where(entry => !parted.Contains(entry.Value)).ToList())
        {
            _partitions.Remove(key);
        }

        var able = _shapes.Values.Select(shape => shape.Able).ToHashSet();
        foreach (var (key, _) in _able.Where(entry => !able.Contains(entry.Value)).ToList())
        {
            _able.Remove(key);
        }

        fleet.Neighbours.Trim(_classes.Values.Select(known => known.Kind).ToHashSet(), parted.SelectMany(partition => partition.Topologies));
    }

    /// <summary>The same for all requests that differ in nothing but whose they are.</summary>
    public static string KeyOf(PlacementRequest request)
    {
        var key = new StringBuilder(InstanceKind.KeyOf(request.Project, request.Labels, request.AntiAffinity)).Append('\n').Append(ShapeKey(request));
        foreach (var (kind, terms) in new[] { ("a", request.Affinity), ("n", request.AntiAffinity) })
        {
            foreach (var term in terms)
            {
                key.Append('\n').Append(kind).Append(term.Preferred ? '?' : '!').Append(term.Topology).Append('\t').Append(term.Text);
            }
        }

        foreach (var term in request.Spread)
        {
            key.Append(CultureInfo.InvariantCulture, $"\ns{(term.Preferred ? '?' : '!')}{term.MaxSkew}\t{term.Topology}\t{term.Text}");
        }

        return key.ToString();
    }

    private static string ShapeKey(PlacementRequest request)
    {
        var (cpu, memory, disk) = request.Reserve;
        var key = new StringBuilder(AbleKey(request));
        key.Append(CultureInfo.InvariantCulture, $"\n{cpu} {memory} {disk} {(int)request.Strategy}");
        foreach (var port in request.Ports)
        {
            key.Append(CultureInfo.InvariantCulture, $"\n{port.Port} {(int)port.Protocol} {port.Address}");
        }

        foreach (var (name, count) in request.Devices.Each)
        {
            key.Append(CultureInfo.InvariantCulture, $"\nd {name} {count}");
        }

        return key.ToString();
    }

    private static string AbleKey(PlacementRequest request)
    {
        var key = new StringBuilder();
        key.Append(CultureInfo.InvariantCulture, $"{(int)request.Type} {(int)request.Accelerator}\t{request.Region}\t{request.Zone}\t");
        key.Append(request.Source is { } source ? source.Node?.Value ?? "gone" : "");
        Append(key, request.NodeSelector, "=");
        foreach (var device in request.Devices.Each)
        {
            // Nodes that have one are no worse for who asks for it; how many is a matter of room.
            key.Append('\n').Append("d ").Append(device.Name);
        }

        foreach (var toleration in request.Tolerations)
        {
            key.Append(CultureInfo.InvariantCulture, $"\nt{(int)toleration.Effect}\t{toleration.Key}\t{toleration.Value}");
        }

        if (!request.Preferred.IsNone)
        {
            key.Append('\n').Append(request.Preferred.Region).Append('\t').Append(request.Preferred.Zone).Append('\t').Append(request.Preferred.Node);
            Append(key, request.Preferred.Labels, "~");
        }

        return key.ToString();
    }

    private static void Append(StringBuilder key, IReadOnlyDictionary<string, string> labels, string sign)
    {
        foreach (var (name, value) in labels.OrderBy(label => label.Key, StringComparer.Ordinal))
        {
            key.Append('\n').Append(name).Append(sign).Append(value);
        }
    }
}
