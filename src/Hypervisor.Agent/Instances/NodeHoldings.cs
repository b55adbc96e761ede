using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// What runtimes and network said they hold, at the last time that all of them answered. A memory to compare with, not a
/// truth to act on: runners look for themselves.
/// </summary>
internal sealed class NodeHoldings
{
    private readonly SortedDictionary<string, (DriverInstance Instance, InstanceType Type)> _held = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _attached = new(StringComparer.Ordinal);

    // Left on the node by a runner that ended, with the number of the listing under way at that moment.
    private readonly SortedDictionary<string, long> _left = new(StringComparer.Ordinal);
    private long _listing;

    /// <summary>All of them have answered at least once.</summary>
    public bool Known { get; private set; }

    /// <summary>A listing begins; its number goes to <see cref="Replace"/>.</summary>
    public long Begin() => ++_listing;

    public void Replace(long listing, IEnumerable<(DriverInstance Instance, InstanceType Type)> held, IEnumerable<InstanceId> attached)
    {
        _held.Clear();
        foreach (var (instance, type) in held)
        {
            _held[instance.Id.Value] = (instance, type);
        }

        _attached.Clear();
        _attached.UnionWith(attached.Select(id => id.Value));
        foreach (var (uid, _) in _left.Where(pair => pair.Value < listing).ToList())
        {
            _left.Remove(uid);
        }

        Known = true;
    }

    /// <summary>A runner has ended and leaves this behind.</summary>
    public void Left(InstanceId id, Observation observed)
    {
        if (observed.Knowledge == Knowledge.Absent)
        {
            _held.Remove(id.Value);
            _attached.Remove(id.Value);
            _left.Remove(id.Value);
            return;
        }

        _left[id.Value] = _listing;
    }

    /// <summary>Nothing of this instance is on the node, as far as everybody said.</summary>
    public bool RulesOut(string uid) => Known && !_held.ContainsKey(uid) && !_attached.Contains(uid) && !_left.ContainsKey(uid);

    /// <summary>The listing shows something else than was observed; unknown differs from nothing.</summary>
    public bool Differs(InstanceId id, Observation observed) => (observed, _held.TryGetValue(id.Value, out var listed)) switch
    {
        ({ Knowledge: Knowledge.Unknown }, _) => false,
        ({ Instance: { } seen }, true) =>
            (seen.State, seen.Epoch, seen.RestartGeneration) != (listed.Instance.State, listed.Instance.Epoch, listed.Instance.RestartGeneration),
        ({ Instance: { } }, false) => true,
        (_, var isHeld) => isHeld,
    };

    /// <summary>What is held and not among these, sorted by uid, with what it was made from as long as that is not too much to tell.</summary>
    public IReadOnlyList<UnclaimedInstance> Without(IReadOnlyCollection<string> named)
    {
        var known = named.ToHashSet(StringComparer.Ordinal);
        var unclaimed = new SortedDictionary<string, UnclaimedInstance>(StringComparer.Ordinal);
        foreach (var (uid, (instance, type)) in _held.Where(held => !known.Contains(held.Key)))
        {
            unclaimed[uid] = Describe(instance, type);
        }

        foreach (var uid in _attached.Where(uid => !known.Contains(uid)))
        {
            unclaimed.TryAdd(uid, new UnclaimedInstance { Uid = uid });
        }

        List<UnclaimedInstance> listed = [.. unclaimed.Values.Take(Limits.UnclaimedReported)];
        var told = 0;
        foreach (var instance in listed.Where(instance => instance.Spec is not null))
        {
            told += instance.CalculateSize();
            if (told > Limits.UnclaimedBytes)
            {
                // Told when others are settled; until then it can be seen and purged.
                instance.Spec = null;
                instance.Labels.Clear();
            }
        }

        return listed;
    }

    private static UnclaimedInstance Describe(DriverInstance instance, InstanceType type)
    {
        var unclaimed = new UnclaimedInstance
        {
            Uid = instance.Id.Value,
            Name = instance.Name,
            Project = instance.Project,
            Epoch = instance.Epoch.Value,
            Type = type,
            State = instance.State switch
            {
                DriverState.Running => InstanceState.Running,
                DriverState.Paused => InstanceState.Paused,
                DriverState.Suspended => InstanceState.Suspended,
                DriverState.Created or DriverState.Stopped => InstanceState.Stopped,
                _ => InstanceState.Unspecified,
            },
        };
        if (instance is { State: not DriverState.Partial, MadeFrom: { } made })
        {
            unclaimed.Spec = made.Spec.Clone();

            // What became of it since it was made: whoever adopts it adopts that.
            unclaimed.Spec.Snapshots.Clear();
            unclaimed.Spec.Snapshots.Add(instance.Snapshots.Select(snapshot => snapshot.Wanted));
            unclaimed.Spec.Restore = instance.Restored is { } restored
                ? new RestoreSpec { SnapshotUid = restored.SnapshotUid, Generation = restored.Generation }
                : null;
            unclaimed.Labels.Add(made.Labels);
            unclaimed.Generation = instance.Generation;
        }

        return unclaimed;
    }
}
