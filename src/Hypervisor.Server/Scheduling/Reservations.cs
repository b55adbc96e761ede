using Hypervisor.Protocol;

namespace Hypervisor.Server.Scheduling;

/// <summary>
/// Room taken by placements that were decided but that the fleet view does not show yet. Decisions made one after another
/// under <see cref="Gate"/> therefore never exceed a node, however many creates are in flight (CapacitySafe).
/// </summary>
/// <remarks>
/// A reservation ends when its commit fails (<see cref="Release"/>) or when a view includes it (<see cref="Forget"/> with a
/// revision at least that of the commit). Counting it twice for a moment is harmless, missing it is not: the view's revision
/// must be read before its nodes. All members but <see cref="Gate"/> are called while holding it.
/// </remarks>
internal sealed class Reservations
{
    private readonly Dictionary<InstanceId, Reservation> _held = [];

    /// <summary>Held from reading the view to <see cref="Reserve"/>; never across an await.</summary>
    public Lock Gate { get; } = new();

    public int Count => _held.Count;

    /// <summary>True when a decision for this instance is being committed or not yet visible.</summary>
    public bool Holds(InstanceId instance) => _held.ContainsKey(instance);

    public void Reserve(NodeId node, PlacementRequest request)
    {
        if (!_held.TryAdd(request.Instance, new(node, request.Reserve, request.Ports)))
        {
            throw new InvalidOperationException($"Instance {request.Instance} has a reservation already.");
        }
    }

    /// <summary>The commit succeeded at this store revision; the room stays taken until a view includes it.</summary>
    public void Commit(InstanceId instance, long revision)
    {
        if (_held.TryGetValue(instance, out var reservation))
        {
            reservation.CommittedAt = revision;
        }
    }

    /// <summary>The commit did not happen.</summary>
    public void Release(InstanceId instance) => _held.Remove(instance);

    /// <summary>Nobody knows whether the commit happened.</summary>
    public void Doubt(InstanceId instance)
    {
        if (_held.TryGetValue(instance, out var reservation))
        {
            reservation.Doubtful = true;
        }
    }

    public bool HasDoubts => _held.Values.Any(reservation => reservation.Doubtful);

    /// <summary>
    /// A store revision read after the doubts arose: whatever became of those commits, a view that includes it shows.
    /// </summary>
    public void ResolveDoubts(long revision)
    {
        foreach (var reservation in _held.Values.Where(reservation => reservation.Doubtful))
        {
            (reservation.Doubtful, reservation.CommittedAt) = (false, revision);
        }
    }

    /// <summary>Ends what a view at this revision shows, or shows not to have happened.</summary>
    public void Forget(long revision)
    {
        var included = _held.Where(entry => entry.Value.CommittedAt <= revision).Select(entry => entry.Key).ToList();
        foreach (var instance in included)
        {
            _held.Remove(instance);
        }
    }

    /// <summary>Adds to each node what is reserved on it, after forgetting what a view at <paramref name="revision"/> includes.</summary>
    public IReadOnlyList<CandidateNode> Overlay(long revision, IReadOnlyList<CandidateNode> nodes)
    {
        Forget(revision);
        if (_held.Count == 0)
        {
            return nodes;
        }

        var byNode = _held.Values.ToLookup(reservation => reservation.Node);
        return [.. nodes.Select(node => byNode.Contains(node.Id) ? Add(node, byNode[node.Id]) : node)];
    }

    private static CandidateNode Add(CandidateNode node, IEnumerable<Reservation> reservations)
    {
        foreach (var reservation in reservations)
        {
            node = node with
            {
                Allocated = node.Allocated + reservation.Amount,
                InstanceCount = node.InstanceCount + 1,
                UsedPorts = reservation.Ports.Count == 0 ? node.UsedPorts : [.. node.UsedPorts, .. reservation.Ports],
            };
        }

        return node;
    }

    private sealed class Reservation(NodeId node, ResourceAmount amount, IReadOnlyList<PortClaim> ports)
    {
        public NodeId Node { get; } = node;

        public ResourceAmount Amount { get; } = amount;

        public IReadOnlyList<PortClaim> Ports { get; } = ports;

        public long CommittedAt { get; set; } = long.MaxValue;

        public bool Doubtful { get; set; }
    }
}
