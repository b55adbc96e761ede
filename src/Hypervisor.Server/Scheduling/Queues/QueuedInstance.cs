using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Queues;

/// <summary>One instance without a node, as it waits for one.</summary>
internal sealed class QueuedInstance(InstanceEntry entry)
{
    /// <summary>As last seen.</summary>
    public InstanceEntry Entry { get; set; } = entry;

    /// <summary>All that ask for the same. Set by the queue.</summary>
    public QueueGroup Group { get; set; } = null!;

    /// <summary>Of the spec that <see cref="Group"/> follows from.</summary>
    public long GroupedAt { get; set; }

    /// <summary>Somebody decides about it, or writes what was decided: it is not handed out meanwhile.</summary>
    public bool IsTaken { get; set; }

    /// <summary>The first to ask comes first; equal ones in an order that every replica has.</summary>
    public (DateTimeOffset Asked, string Uid) Age { get; } = (entry.CreatedAt, entry.Id.Value);
}
