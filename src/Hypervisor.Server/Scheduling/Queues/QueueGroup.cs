namespace Hypervisor.Server.Scheduling.Queues;

/// <summary>
/// Instances that wait and ask for the same at the same priority: where one of them fits nowhere, none does, and what helps one may help the next.
/// </summary>
/// <param name="key">Of their class of requests.</param>
/// <param name="request">Of one of them.</param>
internal sealed class QueueGroup(string key, int priority, PlacementRequest request)
{
    private static readonly Comparer<QueuedInstance> _byAge = Comparer<QueuedInstance>.Create(static (one, other) => Compare(one.Age, other.Age));

    public string Key => key;

    public int Priority => priority;

    public PlacementRequest Request => request;

    /// <summary>Whether others that come somewhere may make room: it has to be with some, or in step with some.</summary>
    public bool AsksForNeighbours { get; } =
        request.Affinity.Any(term => !term.Preferred) || request.AntiAffinity.Any(term => !term.Preferred) || request.Spread.Any(term => !term.Preferred);

    /// <summary>Those that nobody has taken, oldest first.</summary>
    public SortedSet<QueuedInstance> Waiting { get; } = new(_byAge);

    /// <summary>All of them, taken ones too.</summary>
    public int Count { get; set; }

    /// <summary>It was found to fit nowhere, and nothing has happened since that could help.</summary>
    public bool IsAsleep { get; set; }

    /// <summary>Why, in words; null while nobody has asked.</summary>
    public PlacementDecision? Refusal { get; set; }

    /// <summary>In its lane, by the age of its oldest as of then; null while there is nobody to hand out.</summary>
    public QueuedInstance? Head { get; set; }

    public static int Compare((DateTimeOffset Asked, string Uid) one, (DateTimeOffset Asked, string Uid) other) =>
        one.Asked != other.Asked ? one.Asked.CompareTo(other.Asked) : string.CompareOrdinal(one.Uid, other.Uid);
}
