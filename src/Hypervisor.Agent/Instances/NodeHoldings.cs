using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// What each runtime and the network said they hold, at the last time that it answered. A memory to compare with, not a truth to
/// act on: runners look for themselves. Each source answers by itself, so a mute one keeps no other from being listened to.
/// </summary>
internal sealed class NodeHoldings
{
    /// <summary>The network among the sources; whatever it holds has no type.</summary>
    public const InstanceType Network = InstanceType.Unspecified;

    private readonly SortedDictionary<InstanceType, Source> _sources = [];

    /// <param name="types">Of the node's runtimes.</param>
    public NodeHoldings(IEnumerable<InstanceType> types, bool network)
    {
        foreach (var type in network ? types.Append(Network) : types)
        {
            _sources.Add(type, new Source());
        }
    }

    /// <summary>
    /// Types of which nothing can be said yet, for their runtime has not answered since the agent started. <see cref="Network"/> is
    /// among them until everybody has: what is connected and named by nobody may belong to any.
    /// </summary>
    public IReadOnlyList<InstanceType> Unanswered => _sources.Values.All(source => source.Known)
        ? []
        : [Network, .. _sources.Where(pair => pair.Key != Network && !pair.Value.Known).Select(pair => pair.Key)];

    /// <summary>A source is about to be asked; the number goes to <c>Replace</c>.</summary>
    public long Begin(InstanceType source) => ++_sources[source].Listing;

    public void Replace(InstanceType source, long listing, IEnumerable<DriverInstance> held) =>
        _sources[source].Replace(listing, held.Select(instance => (instance.Id.Value, (DriverInstance?)instance)));

    public void Replace(long listing, IEnumerable<InstanceId> attached) =>
        _sources[Network].Replace(listing, attached.Select(id => (id.Value, (DriverInstance?)null)));

    /// <summary>A runner has ended and leaves this behind.</summary>
    public void Left(InstanceId id, Observation observed)
    {
        foreach (var source in _sources.Values)
        {
            if (observed.Knowledge == Knowledge.Absent)
            {
                source.Held.Remove(id.Value);
                source.Left.Remove(id.Value);
            }
            else
            {
                source.Left[id.Value] = source.Listing;
            }
        }
    }

    /// <summary>Nothing of this instance is on the node, as far as everybody said who could hold something of it.</summary>
    /// <param name="type">Its type, or unspecified when that is not known.</param>
    public bool RulesOut(string uid, InstanceType type) =>
        _sources.All(pair => pair.Value.Known || (pair.Key != Network && IsOfOne(type) && pair.Key != type))
        && _sources.Values.All(source => !source.Held.ContainsKey(uid) && !source.Left.ContainsKey(uid));

    /// <summary>What this runtime listed is something else than was observed; unknown differs from nothing.</summary>
    /// <param name="type">Of the instance, or unspecified when that is not known.</param>
    public bool Differs(InstanceType source, InstanceId id, InstanceType type, Observation observed)
    {
        if (IsOfOne(type) && type != source)
        {
            return false;
        }

        return (observed, _sources[source].Held.GetValueOrDefault(id.Value)) switch
        {
            ({ Knowledge: Knowledge.Unknown }, _) => false,
            ({ Instance: { } seen }, { } listed) =>
                (seen.State, seen.Epoch, seen.RestartGeneration) != (listed.State, listed.Epoch, listed.RestartGeneration),
            ({ Instance: { } }, null) => _sources.Values.All(other => !other.Held.TryGetValue(id.Value, out var held) || held is null),
            (_, var listed) => listed is not null,
        };
    }

    /// <summary>
    /// What is held and not among these, sorted by uid, with what it was made from as long as that is not too much to tell. Null
    /// before anything can be said at all.
    /// </summary>
    public UnclaimedReport? Without(IReadOnlyCollection<string> named)
    {
        var unanswered = Unanswered;
        if (unanswered.Count > 0 && _sources.Keys.All(unanswered.Contains))
        {
            return null;
        }

        var known = named.ToHashSet(StringComparer.Ordinal);
        var unclaimed = new SortedDictionary<string, UnclaimedInstance>(StringComparer.Ordinal);
        foreach (var (type, source) in _sources.Where(pair => !unanswered.Contains(pair.Key)).OrderBy(pair => pair.Key == Network))
        {
            foreach (var (uid, instance) in source.Held.Where(held => !known.Contains(held.Key)))
            {
                unclaimed.TryAdd(uid, instance is null ? new UnclaimedInstance { Uid = uid } : Describe(instance, type));
            }
        }

        var report = new UnclaimedReport();
        report.UnansweredTypes.AddRange(unanswered);
        report.Instances.AddRange(unclaimed.Values.Take(Limits.UnclaimedReported));
        var told = 0;
        foreach (var instance in report.Instances.Where(instance => instance.Spec is not null))
        {
            told += instance.CalculateSize();
            if (told > Limits.UnclaimedBytes)
            {
                // Told when others are settled; until then it can be seen and purged.
                instance.Spec = null;
                instance.Labels.Clear();
            }
        }

        return report;
    }

    /// <summary>One of the node's runtimes is the only one that can hold it.</summary>
    private bool IsOfOne(InstanceType type) => type != InstanceType.Unspecified && _sources.ContainsKey(type);

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

    /// <summary>One runtime, or the network.</summary>
    private sealed class Source
    {
        /// <summary>By uid, as listed last; the network's have no instance.</summary>
        public SortedDictionary<string, DriverInstance?> Held { get; } = new(StringComparer.Ordinal);

        /// <summary>Left on the node by a runner that ended, with the number of the listing under way at that moment.</summary>
        public SortedDictionary<string, long> Left { get; } = new(StringComparer.Ordinal);

        public long Listing { get; set; }

        /// <summary>It has answered at least once.</summary>
        public bool Known { get; private set; }

        public void Replace(long listing, IEnumerable<(string Uid, DriverInstance? Instance)> held)
        {
            Held.Clear();
            foreach (var (uid, instance) in held)
            {
                Held[uid] = instance;
            }

            foreach (var (uid, _) in Left.Where(pair => pair.Value < listing).ToList())
            {
                Left.Remove(uid);
            }

            Known = true;
        }
    }
}
