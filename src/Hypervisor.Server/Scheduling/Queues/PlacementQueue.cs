using Hypervisor.Protocol;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Queues;

/// <summary>
/// Instances without a node, in the order in which they get one: by priority, then the project that has least (dominant resource share), then age.
/// Those that fit nowhere sleep until something happens that could help them, and hold back nobody. Used under the lock of the fleet's owner.
/// </summary>
internal sealed class PlacementQueue(Fleet fleet)
{
    private readonly Dictionary<string, QueuedInstance> _items = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Key, int Priority), QueueGroup> _groups = [];
    private readonly SortedDictionary<int, SortedSet<QueueLane>> _levels = new(Comparer<int>.Create(static (one, other) => other.CompareTo(one)));
    private readonly Dictionary<(int Priority, string Project), QueueLane> _lanes = [];
    private readonly HashSet<QueueGroup> _asleep = [];

    /// <summary>Those of them that one more instance somewhere could help.</summary>
    private readonly HashSet<QueueGroup> _asleepForNeighbours = [];
    private readonly Queue<QueuedInstance> _untold = [];
    private readonly FleetNews _news = new();
    private long _described;
    private int _clones;

    public bool AnyAsleep => _asleep.Count > 0;

    /// <summary>Somebody is to be decided about: who comes now has to stand in line.</summary>
    public bool HasActive => _levels.Count > 0;

    /// <summary>Whether somebody is to be decided about before one who stands in no line: of a higher priority, or of the same who has not asked later.</summary>
    public bool ComesBefore(int priority, DateTimeOffset asked) =>
        _levels.Count > 0 && _levels.First() is var (level, lanes)
        && (level > priority || (level == priority && lanes.Any(lane => lane.Groups.Min!.Head!.Age.Asked <= asked)));

    /// <summary>An instance asks for a node, or is not what it was when it asked.</summary>
    /// <param name="requestOf">Called when what it asks for is not known.</param>
    public void Offer(InstanceEntry entry, Func<InstanceEntry, PlacementRequest> requestOf)
    {
        if (!_items.TryGetValue(entry.Id.Value, out var item))
        {
            _items.Add(entry.Id.Value, item = new(entry));
            if (fleet.News is null)
            {
                // What happened before is nothing to those who come now.
                (fleet.News, _described) = (_news, fleet.DescriptionClock);
            }

            Enlist(item, requestOf(entry));
            return;
        }

        item.Entry = entry;
        if (item.GroupedAt != entry.SpecRevision || item.Group.Request.Source is not null)
        {
            var taken = item.IsTaken;
            Leave(item);
            Enlist(item, requestOf(entry));
            if (taken)
            {
                Take(item);
            }
        }
    }

    /// <summary>It needs no node any more.</summary>
    public void Withdraw(InstanceId id)
    {
        if (_items.Remove(id.Value, out var item))
        {
            Leave(item);
            if (_items.Count == 0)
            {
                fleet.News = null;
                _news.Clear();
            }
        }
    }

    public QueuedInstance? Find(InstanceId id) => _items.GetValueOrDefault(id.Value);

    /// <summary>Everybody, in no order.</summary>
    public IReadOnlyCollection<QueuedInstance> All => _items.Values;

    /// <summary>Those that have to be where this instance is.</summary>
    public IReadOnlyList<QueuedInstance> ClonesOf(InstanceId source) => _clones == 0
        ? []
        : [.. _groups.Values.Where(group => group.Request.Source is not null).SelectMany(group => group.Waiting).Where(item => item.Entry.Spec.Source?.InstanceUid == source.Value)];

    /// <summary>Takes who is to be decided about next; null when all sleep or are taken.</summary>
    public QueuedInstance? Next()
    {
        while (_levels.Count > 0)
        {
            var lanes = _levels.First().Value;
            var lane = lanes.Min!;
            var share = ShareOf(lane.Project);
            if (share != lane.Share)
            {
                lanes.Remove(lane);
                lane.Share = share;
                lanes.Add(lane);
                continue;
            }

            var item = lane.Groups.Min!.Head!;
            Take(item);
            return item;
        }

        return null;
    }

    /// <summary>Takes one, whoever is next.</summary>
    public void TakeOut(QueuedInstance item)
    {
        if (!item.IsTaken)
        {
            Take(item);
        }
    }

    /// <summary>Gives back what was taken, for nothing came of it.</summary>
    /// <param name="told">It sleeps and knows why.</param>
    public void PutBack(QueuedInstance item, bool told)
    {
        if (_items.GetValueOrDefault(item.Entry.Id.Value) == item && item.IsTaken)
        {
            item.IsTaken = false;
            Unlist(item.Group);
            item.Group.Waiting.Add(item);
            List(item.Group);
            if (item.Group.IsAsleep && !told)
            {
                _untold.Enqueue(item);
            }
        }
    }

    /// <summary>Nothing fits: it and all that ask for the same sleep, and have to be told.</summary>
    public void Sleep(QueueGroup group)
    {
        Unlist(group);
        group.IsAsleep = true;
        group.Refusal = null;
        _asleep.Add(group);
        if (group.AsksForNeighbours)
        {
            _asleepForNeighbours.Add(group);
        }

        foreach (var item in group.Waiting)
        {
            _untold.Enqueue(item);
        }
    }

    /// <summary>Takes one that sleeps and was not asked about since; null when there is none.</summary>
    public QueuedInstance? NextUntold()
    {
        while (_untold.TryDequeue(out var item))
        {
            if (item is { IsTaken: false, Group.IsAsleep: true } && Find(item.Entry.Id) == item)
            {
                Take(item);
                return item;
            }
        }

        return null;
    }

    /// <summary>Wakes whom something that happened since the last call could help.</summary>
    public void Wake()
    {
        if (_news.IsEmpty && _described == fleet.DescriptionClock)
        {
            return;
        }

        // While instances only come, as they do with each placement, most need not be looked at.
        var onlyCame = _news.Roomier.Count == 0 && _news.Left.Count == 0 && _described == fleet.DescriptionClock;
        if ((onlyCame ? _asleepForNeighbours : _asleep) is { Count: > 0 } concerned)
        {
            var described = fleet.DescribedSince(_described)?.Distinct().ToArray();
            var help = new PossibleHelp(fleet, _news, described);
            foreach (var group in concerned.Where(help.MayHelp).ToList())
            {
                Wake(group);
            }
        }

        if (_news.Left.Count > 0 || _described != fleet.DescriptionClock)
        {
            // Shares may have become smaller, which the order does not find out by itself.
            Reorder();
        }

        _news.Clear();
        _described = fleet.DescriptionClock;
    }

    /// <summary>Whatever happened.</summary>
    public void WakeAll()
    {
        foreach (var group in _asleep.ToList())
        {
            Wake(group);
        }
    }

    public void Wake(QueueGroup group)
    {
        if (_asleep.Remove(group))
        {
            _asleepForNeighbours.Remove(group);
            (group.IsAsleep, group.Refusal) = (false, null);
            List(group);
        }
    }

    private double ShareOf(string project) => fleet.Neighbours.Usage(project).DominantShare(fleet.Capacity);

    private void Enlist(QueuedInstance item, PlacementRequest request)
    {
        var key = (RequestClasses.KeyOf(request), item.Entry.Priority);
        if (!_groups.TryGetValue(key, out var group))
        {
            _groups.Add(key, group = new(key.Item1, key.Item2, request));
        }

        (item.Group, item.GroupedAt, item.IsTaken) = (group, item.Entry.SpecRevision, false);
        group.Count++;
        _clones += request.Source is null ? 0 : 1;
        Unlist(group);
        group.Waiting.Add(item);
        List(group);
        if (group.IsAsleep)
        {
            _untold.Enqueue(item);
        }
    }

    private void Take(QueuedInstance item)
    {
        item.IsTaken = true;
        Unlist(item.Group);
        item.Group.Waiting.Remove(item);
        List(item.Group);
    }

    private void Leave(QueuedInstance item)
    {
        var group = item.Group;
        Unlist(group);
        group.Waiting.Remove(item);
        _clones -= group.Request.Source is null ? 0 : 1;
        if (--group.Count == 0)
        {
            _groups.Remove((group.Key, group.Priority));
            _asleep.Remove(group);
            _asleepForNeighbours.Remove(group);
        }
        else
        {
            List(group);
        }
    }

    /// <summary>Puts a group where it is handed out from, if there is anything to hand out.</summary>
    private void List(QueueGroup group)
    {
        if (group.IsAsleep || group.Waiting.Min is not { } head)
        {
            return;
        }

        var project = group.Request.Project;
        if (!_lanes.TryGetValue((group.Priority, project), out var lane))
        {
            _lanes.Add((group.Priority, project), lane = new(project) { Share = ShareOf(project) });
            if (!_levels.TryGetValue(group.Priority, out var lanes))
            {
                _levels.Add(group.Priority, lanes = QueueLane.InOrder());
            }

            lanes.Add(lane);
        }

        group.Head = head;
        lane.Groups.Add(group);
    }

    private void Unlist(QueueGroup group)
    {
        if (group.Head is null)
        {
            return;
        }

        var at = (group.Priority, group.Request.Project);
        var lane = _lanes[at];
        lane.Groups.Remove(group);
        group.Head = null;
        if (lane.Groups.Count > 0)
        {
            return;
        }

        _lanes.Remove(at);
        _levels[group.Priority].Remove(lane);
        if (_levels[group.Priority].Count == 0)
        {
            _levels.Remove(group.Priority);
        }
    }

    private void Reorder()
    {
        foreach (var lanes in _levels.Values)
        {
            foreach (var lane in lanes.ToList())
            {
                lanes.Remove(lane);
                lane.Share = ShareOf(lane.Project);
                lanes.Add(lane);
            }
        }
    }
}
