using Hypervisor.Protocol.V1;

namespace Hypervisor.Simulation.Checks;

/// <summary>A client's picture of all instances, folded from its watch; anything an exact watch cannot do is a violation.</summary>
internal sealed class WatchFold
{
    private readonly SortedDictionary<string, Instance> _instances = new(StringComparer.Ordinal);
    private bool _complete;

    public List<string> Violations { get; } = [];

    /// <summary>Where the next watch resumes; 0 until a first picture was complete.</summary>
    public long Position { get; private set; }

    /// <summary>The version of the last change that it told of.</summary>
    public long LastChange { get; private set; }

    public long Events { get; private set; }

    public long Resyncs { get; private set; }

    /// <summary>A watch begins: an incomplete picture is thrown away.</summary>
    public void Begin()
    {
        if (!_complete)
        {
            _instances.Clear();
            Position = 0;
        }
    }

    public void Take(WatchInstancesResponse change)
    {
        Events++;
        if (change.Type == WatchEventType.Resync)
        {
            Resyncs++;
            _complete = false;
            return;
        }

        if (change.ResourceVersion < Position)
        {
            Violations.Add($"WatchExact: {change.Type} at {change.ResourceVersion} after {Position}");
        }

        Position = Math.Max(Position, change.ResourceVersion);
        if (change.Type != WatchEventType.Bookmark)
        {
            LastChange = Position;
        }

        var uid = change.Instance?.Metadata.Uid ?? "";
        switch (change.Type)
        {
            case WatchEventType.Added when !_instances.TryAdd(uid, change.Instance!):
                Violations.Add($"WatchExact: ADDED twice, {change.Instance!.Metadata.Name}");
                break;
            case WatchEventType.Modified:
                if (!_instances.TryGetValue(uid, out var before))
                {
                    Violations.Add($"WatchExact: MODIFIED before ADDED, {change.Instance!.Metadata.Name}");
                }
                else if (before.Metadata.ResourceVersion >= change.Instance!.Metadata.ResourceVersion)
                {
                    Violations.Add($"WatchExact: MODIFIED twice, {change.Instance.Metadata.Name}");
                }

                _instances[uid] = change.Instance!;
                break;
            case WatchEventType.Deleted when !_instances.Remove(uid):
                Violations.Add($"WatchExact: DELETED before ADDED, {change.Instance!.Metadata.Name}");
                break;
            case WatchEventType.Bookmark:
                _complete = true;
                break;
        }
    }

    /// <summary>Whether it tells of the same moment as the list.</summary>
    public bool IsAt(ListInstancesResponse list) => Position >= list.List.ResourceVersion && LastChange <= list.List.ResourceVersion;

    /// <summary>WatchEqualsList, of the same moment.</summary>
    public void Compare(ListInstancesResponse list)
    {
        var listed = list.Instances.Select(Version).ToHashSet();
        var watched = _instances.Values.Select(Version).ToHashSet();
        if (!listed.SetEquals(watched))
        {
            Violations.Add($"WatchEqualsList: only listed: {string.Join(", ", listed.Except(watched))}; only watched: {string.Join(", ", watched.Except(listed))}; "
                + $"the list is at {list.List.ResourceVersion}, the watch at {Position} with its last change at {LastChange}");
        }

        static string Version(Instance instance) => $"{instance.Metadata.Name} at {instance.Metadata.ResourceVersion}";
    }
}
