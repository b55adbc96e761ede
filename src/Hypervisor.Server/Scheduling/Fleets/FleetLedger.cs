using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// The fleet as the store shows it, and what is decided on top of that. Decisions made one after another under the owner's lock never exceed a node,
/// however many are on their way into the store (CapacitySafe).
/// </summary>
/// <remarks>
/// A reservation ends when its commit fails (<see cref="Release"/>) or when the store shows it: when a change at least as new as its commit was
/// applied. Until then an instance counts once, with the larger of what the store and the decision say.
/// </remarks>
internal sealed class FleetLedger
{
    private readonly Dictionary<InstanceId, Reservation> _held = [];
    private readonly PriorityQueue<InstanceId, long> _committed = new();
    private readonly Dictionary<InstanceId, Claim> _claims = [];
    private readonly HashSet<string> _leaving = new(StringComparer.Ordinal);

    public FleetLedger() => Classes = new(Fleet);

    public Fleet Fleet { get; } = new();

    public RequestClasses Classes { get; }

    /// <summary>Of the store; 0 before anything was loaded.</summary>
    public long Revision { get; private set; }

    public bool HasDoubts => _held.Values.Any(reservation => reservation.Doubtful);

    /// <summary>True when a decision about this instance is being committed or not yet seen.</summary>
    public bool Holds(InstanceId instance) => _held.ContainsKey(instance);

    /// <param name="row">As <see cref="Fleets.Fleet.Reserve"/> has it.</param>
    /// <exception cref="InvalidOperationException">There is one for the instance already.</exception>
    public void Reserve(InstanceId instance, Stay stay, int row = -1)
    {
        if (!_held.TryAdd(instance, new()))
        {
            throw new InvalidOperationException($"Instance {instance} has a reservation already.");
        }

        Forget(instance);
        Fleet.Reserve(instance, stay, row);
    }

    /// <summary>
    /// Keeps a place for an instance that cannot have it yet, since others, or itself, have to leave somewhere first: nobody else is given it. It may
    /// be more than the node has free meanwhile. Ends with the instance's reservation, or with <see cref="Unclaim"/>.
    /// </summary>
    public void Hold(Claim claim)
    {
        Forget(claim.Instance);
        _claims[claim.Instance] = claim;
        _leaving.UnionWith(claim.Leaving);
        Fleet.Reserve(claim.Instance, claim.Stay);
        claim.Row = Fleet.Find(claim.Stay.Node);
    }

    public Claim? ClaimOf(InstanceId instance) => _claims.GetValueOrDefault(instance);

    public IReadOnlyCollection<Claim> Claims => _claims.Values;

    /// <summary>Uids of all who are told to make room for a claim, also before the store shows that.</summary>
    public IReadOnlySet<string> Leaving => _leaving;

    /// <summary>
    /// Claims of lower priority on the same node, if what is claimed is free once they are given up; null when it is not. Nobody waits for room that is
    /// only kept for a lesser one.
    /// </summary>
    public IReadOnlyList<Claim>? Lesser(Claim claim)
    {
        var row = claim.Row;
        if (row < 0 || Fleet.NodeAt(row) is null || Fleet.Order.StampOf(row) == claim.NotFreeOfLesserAt)
        {
            return null;
        }

        var lesser = _claims.Values.Where(other => other.Row == row && other.Stay.Priority < claim.Stay.Priority).ToList();
        var free = lesser.Count > 0 && IsFreeWithout(0);

        // To have asked changes the stamp too.
        claim.NotFreeOfLesserAt = free ? -1 : Fleet.Order.StampOf(row);
        return free ? lesser : null;

        bool IsFreeWithout(int index) => index == lesser.Count ? IsFree(claim) : Fleet.Without(lesser[index].Instance, () => IsFreeWithout(index + 1));
    }

    /// <summary>
    /// Places on a row that nobody leaves and that are kept for somebody of lower priority: for a member of a gang, until others have made room for the
    /// rest of it. Who is more important need not wait for that.
    /// </summary>
    public IEnumerable<Stay> KeptForLesser(int row, int priority) =>
        _claims.Values.Where(claim => claim.Row == row && claim.Leaving.Count == 0 && claim.Stay.Priority < priority).Select(claim => claim.Stay);

    /// <summary>Whether what is claimed is free now.</summary>
    public bool IsFree(Claim claim)
    {
        var row = claim.Row;
        if (row < 0 || Fleet.NodeAt(row) is null || Fleet.Order.StampOf(row) == claim.NotFreeAt)
        {
            return false;
        }

        ref var at = ref Fleet.Row(row);
        var asked = claim.Stay.Amount;
        var free = (asked.CpuMillicores == 0 || at.FreeCpu >= 0)
            && (asked.MemoryBytes == 0 || at.FreeMemory >= 0)
            && (asked.DiskBytes == 0 || at.FreeDisk >= 0)
            && IsLeft(claim.Stay.Devices, Fleet.FreeDevicesAt(row))
            && claim.Stay.Ports.All(port => Fleet.PortsAt(row).Count(port.ConflictsWith) == 1);
        claim.NotFreeAt = free ? -1 : Fleet.Order.StampOf(row);
        return free;
    }

    public void Unclaim(InstanceId instance)
    {
        if (Forget(instance))
        {
            Fleet.Unreserve(instance);
        }
    }

    private bool Forget(InstanceId instance)
    {
        if (!_claims.Remove(instance, out var claim))
        {
            return false;
        }

        _leaving.ExceptWith(claim.Leaving);
        return true;
    }

    /// <summary>The commit succeeded at this store revision.</summary>
    public void Commit(InstanceId instance, long revision)
    {
        if (!_held.TryGetValue(instance, out var reservation))
        {
            return;
        }

        if (revision <= Revision)
        {
            Release(instance);
            return;
        }

        reservation.CommittedAt = revision;
        _committed.Enqueue(instance, revision);
    }

    /// <summary>The commit did not happen.</summary>
    public void Release(InstanceId instance)
    {
        if (_held.Remove(instance))
        {
            Fleet.Unreserve(instance);
        }
    }

    /// <summary>Nobody knows whether the commit happened.</summary>
    public void Doubt(InstanceId instance)
    {
        if (_held.TryGetValue(instance, out var reservation))
        {
            reservation.Doubtful = true;
        }
    }

    /// <summary>A store revision read after the doubts arose: what of them happened shows in changes up to it.</summary>
    public void ResolveDoubts(long revision)
    {
        foreach (var (instance, reservation) in _held.Where(entry => entry.Value.Doubtful).ToList())
        {
            reservation.Doubtful = false;
            Commit(instance, revision);
        }
    }

    /// <summary>Everything anew; what is decided stays decided.</summary>
    /// <param name="without">Nodes that are taken not to be in the cluster.</param>
    public void Load(ClusterView view, IReadOnlySet<NodeId>? without = null)
    {
        foreach (var (uid, _) in Fleet.Stays().Where(entry => view.Instance(new(entry.Uid)) is null).ToList())
        {
            Fleet.Confirm(new(uid), null);
        }

        foreach (var id in Fleet.Nodes().Where(id => view.Node(id) is null).ToList())
        {
            Fleet.Remove(id);
        }

        foreach (var node in view.Nodes)
        {
            if (without?.Contains(node.Id) != true)
            {
                Apply(null, node);
            }
        }

        foreach (var instance in view.Instances)
        {
            Fleet.Confirm(instance.Id, StayOf(instance));
        }

        Reached(view.Revision);
    }

    /// <summary>What one revision changed, in order.</summary>
    public void Apply(StateChange change)
    {
        foreach (var (old, current) in change.Nodes)
        {
            Apply(old, current);
        }

        foreach (var (old, current) in change.Instances)
        {
            // Most changes are statuses.
            if (old is null || current is null || old.PlacementRevision != current.PlacementRevision || old.SpecRevision != current.SpecRevision)
            {
                Fleet.Confirm((current ?? old)!.Id, current is null ? null : StayOf(current));
            }
        }

        Reached(change.Revision);
    }

    /// <summary>The fleet shows all up to this revision.</summary>
    public void Reached(long revision)
    {
        Revision = Math.Max(Revision, revision);
        while (_committed.TryPeek(out var instance, out var at) && at <= Revision)
        {
            _committed.Dequeue();

            // Not one that was decided anew since.
            if (_held.GetValueOrDefault(instance)?.CommittedAt == at)
            {
                Release(instance);
            }
        }
    }

    /// <summary>The whole fleet as the rules in words see it, with those instances that can matter to the request.</summary>
    public FleetView View(PlacementRequest request, ResourceVersion version)
    {
        var asks = request.Affinity.Count + request.AntiAffinity.Count + request.Spread.Count > 0;
        return new(version, [.. Fleet.Candidates()])
        {
            Placed =
            [
                .. Fleet.Stays().Select(entry => entry.Stay)
                    .Where(stay => stay.Kind.Project == request.Project && (asks || stay.Kind.KeepsAway.Count > 0))
                    .Select(stay => new PlacedInstance(stay.Node, stay.Kind.Project, stay.Kind.Labels, stay.Kind.KeepsAway)),
            ],
        };
    }

    private void Apply(NodeEntry? old, NodeEntry? current)
    {
        if (current?.Inventory is not { } inventory)
        {
            Fleet.Remove((current ?? old)!.Id);
            return;
        }

        var version = (current.SpecRevision, current.RegistrationRevision, current.HealthRevision);
        if (Fleet.VersionOf(current.Id) == version)
        {
            // Merely fuller, or emptier.
            return;
        }

        Fleet.Describe(new(Describe(current, inventory), version));
    }

    /// <summary>A node with nothing on it.</summary>
    public static CandidateNode Describe(NodeEntry node, NodeInventory inventory) => new(
        node.Id, node.Name, node.Scheduling, node.Liveness, inventory, node.Labels, node.Allocatable, Allocated: default, InstanceCount: 0, UsedPorts: [])
    {
        Taints = node.SpecRecord.Spec?.Taints ?? [],
        Devices = node.AllocatableDevices,
    };

    /// <summary>Whether what is free without them is not below zero of any.</summary>
    private static bool IsLeft(DeviceAmounts claimed, DeviceAmounts free) => claimed.IsNone || claimed.Each.All(device => free[device.Name] >= 0);

    private static Yielding YieldOf(InstanceEntry instance) => instance switch
    {
        { Deleting: true } => Yielding.Leaves,
        { IsEvicted: true, Eviction: var eviction } => eviction switch
        {
            { InPlace: false } => Yielding.Leaves,
            { Parked: false } => Yielding.ComesToRest,
            _ => Yielding.Stays,
        },
        { HasLocalDisk: false, IsClone: false } => Yielding.CanLeave,
        _ => Yielding.CanRest,
    };

    private Stay? StayOf(InstanceEntry instance)
    {
        if (instance.NodeId is not { } node)
        {
            return null;
        }

        var (spec, reserved) = (instance.Spec, instance.PlacementRecord!.Reserved);
        var apart = spec.Constraints?.AntiAffinity is { Count: > 0 } terms ? terms.Select(NeighbourTerm.Of).ToList() : [];
        return new(
            node,
            ResourceAmount.Of(reserved),
            Fleet.KindOf(instance.Project, instance.Labels, apart),
            spec.Network is { Ports.Count: > 0 } network ? [.. network.Ports.Select(PortClaim.Of)] : [])
        {
            Devices = DeviceAmounts.Of(reserved),
            Priority = instance.Priority,
            Yields = YieldOf(instance),
            Grace = spec.Stop?.GracePeriod?.ToTimeSpan() ?? TimeSpan.Zero,
            IsMember = instance.GroupUid is not null,
        };
    }

    private sealed class Reservation
    {
        public long CommittedAt { get; set; } = long.MaxValue;

        public bool Doubtful { get; set; }
    }
}

/// <summary>A place that is kept for an instance while others, or itself on another node, are told to leave.</summary>
/// <param name="since">A timestamp of the clock.</param>
/// <param name="patience">A place that is not free after so long is given up.</param>
/// <param name="leaving">Uids of those who are told to leave for it, also before the store shows that they are.</param>
internal sealed class Claim(InstanceId instance, Stay stay, long since, TimeSpan patience, params IReadOnlyList<string> leaving)
{
    public InstanceId Instance => instance;

    public Stay Stay => stay;

    public long Since => since;

    public TimeSpan Patience { get; set; } = patience;

    public IReadOnlyList<string> Leaving => leaving;

    /// <summary>Where the fleet has its node; a row in use is never given to another one.</summary>
    public int Row { get; set; } = -1;

    /// <summary>The row's stamp when it was last seen not to be free: until that changes it is not looked at again.</summary>
    public long NotFreeAt { get; set; } = -1;

    /// <summary>Likewise, if those of lower priority gave up what they have there.</summary>
    public long NotFreeOfLesserAt { get; set; } = -1;

    /// <summary>The store's revision of what was told; before that nothing that the store shows is about it.</summary>
    public long AskedAt { get; set; } = long.MaxValue;
}
