namespace Hypervisor.Server.Scheduling.Queues;

/// <summary>What of one project and priority can be handed out.</summary>
internal sealed class QueueLane(string project)
{
    private static readonly Comparer<QueueGroup> _byHead = Comparer<QueueGroup>.Create(static (one, other) => QueueGroup.Compare(one.Head!.Age, other.Head!.Age));

    private static readonly Comparer<QueueLane> _byShare = Comparer<QueueLane>.Create(static (one, other) =>
        one.Share != other.Share ? one.Share.CompareTo(other.Share) : string.CompareOrdinal(one.Project, other.Project));

    public string Project => project;

    /// <summary>The project's dominant share when the lane was last put in order.</summary>
    public double Share { get; set; }

    /// <summary>The group with the oldest instance first.</summary>
    public SortedSet<QueueGroup> Groups { get; } = new(_byHead);

    /// <summary>Lanes of one priority: the project that has least first.</summary>
    public static SortedSet<QueueLane> InOrder() => new(_byShare);
}
