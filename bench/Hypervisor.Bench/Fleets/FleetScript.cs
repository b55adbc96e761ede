using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>What a simulated fleet is made of and what happens to it. See <c>configs/fleet.example.yaml</c>.</summary>
internal sealed record FleetScript
{
    /// <summary>Of whatever is drawn: the same script and seed draw the same.</summary>
    public int Seed { get; init; } = 1;

    public IReadOnlyList<NodePool> Pools { get; init; } = [new()];

    /// <summary>In order of time.</summary>
    public IReadOnlyList<FleetEvent> Events { get; init; } = [];

    /// <summary>Each node of a fleet, the pools one after the other, each with its share of the whole.</summary>
    /// <param name="prefix">Begins each name; an RFC 1123 label.</param>
    public IReadOnlyList<SimulatedNode> Nodes(int count, string prefix)
    {
        var nodes = new List<SimulatedNode>(count);
        var (whole, shares) = (Pools.Sum(pool => (long)pool.Share), 0L);
        foreach (var pool in Pools)
        {
            shares += pool.Share;
            for (var inPool = 0; nodes.Count < count * shares / whole; inPool++)
            {
                var name = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{prefix}-{nodes.Count:D5}");
                nodes.Add(new(name, pool, pool.Zones[inPool % pool.Zones.Count], unchecked((Seed * 1_000_003) + nodes.Count)));
            }
        }

        return nodes;
    }
}

/// <summary>Nodes of one kind.</summary>
internal sealed record NodePool
{
    /// <summary><c>share</c>: of the fleet's nodes, in proportion to the shares of the others.</summary>
    public int Share { get; init; } = 1;

    /// <summary><c>cpus</c></summary>
    public int Cpus { get; init; } = 16;

    /// <summary><c>memory</c></summary>
    public long MemoryBytes { get; init; } = 64L << 30;

    /// <summary><c>disk</c></summary>
    public long DiskBytes { get; init; } = 1L << 40;

    /// <summary><c>region</c></summary>
    public string Region { get; init; } = "";

    /// <summary><c>zones</c>: the nodes are in them in turn.</summary>
    public IReadOnlyList<string> Zones { get; init; } = [""];

    /// <summary><c>types</c>: what the nodes run.</summary>
    public IReadOnlyList<InstanceType> Types { get; init; } = [InstanceType.Container, InstanceType.Microvm, InstanceType.Vm];

    /// <summary><c>labels</c></summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary><c>start</c>: from an assignment until the instance runs.</summary>
    public Latency Start { get; init; }

    /// <summary><c>stop</c>: from a removal until nothing is left.</summary>
    public Latency Stop { get; init; }

    /// <summary><c>beat</c>: how late a heartbeat is sent.</summary>
    public Latency Beat { get; init; }
}

/// <summary>Each time another one, evenly drawn.</summary>
internal readonly record struct Latency(TimeSpan Least, TimeSpan Most)
{
    public TimeSpan Draw(Random random) => Least == Most ? Least : Least + ((Most - Least) * random.NextDouble());
}

/// <summary>What happens to some nodes at once.</summary>
internal sealed record FleetEvent
{
    /// <summary><c>at</c>: since every node was registered.</summary>
    public TimeSpan At { get; init; }

    /// <summary><c>do</c></summary>
    public Conduct Conduct { get; init; }

    /// <summary><c>for</c>: after which they behave again; null means for good.</summary>
    public TimeSpan? For { get; init; }

    /// <summary><c>region</c>, <c>zone</c>, <c>node</c>: empty means any.</summary>
    public string Region { get; init; } = "";

    public string Zone { get; init; } = "";

    public string Node { get; init; } = "";

    /// <summary><c>percent</c>: of those that the others select, drawn by the seed; at least one.</summary>
    public int Percent { get; init; } = 100;

    /// <summary>Which it happens to.</summary>
    public IReadOnlyList<SimulatedNode> Select(IReadOnlyList<SimulatedNode> nodes, int seed)
    {
        var meant = nodes.Where(node =>
            (Region.Length == 0 || node.Pool.Region == Region) && (Zone.Length == 0 || node.Zone == Zone) && (Node.Length == 0 || node.Name == Node)).ToArray();
        if (Percent < 100 && meant.Length > 0)
        {
            new Random(unchecked(seed + (int)(At.Ticks / TimeSpan.TicksPerMillisecond))).Shuffle(meant);
            meant = meant[..Math.Max(1, meant.Length * Percent / 100)];
        }

        return meant;
    }
}

/// <summary>How a simulated agent behaves.</summary>
internal enum Conduct
{
    /// <summary><c>return</c>: as it should.</summary>
    Normal,

    /// <summary><c>silence</c>: nothing is sent any more, over connections that stay.</summary>
    Silent,

    /// <summary><c>die</c>: the machine is off. What ran on it is started again when it is back.</summary>
    Dead,

    /// <summary><c>refuse</c>: what is assigned from now on fails.</summary>
    Refusing,

    /// <summary><c>slow</c>: everything takes ten times as long.</summary>
    Slow,
}

/// <param name="Seed">Of what the node draws.</param>
internal sealed record SimulatedNode(string Name, NodePool Pool, string Zone, int Seed);
