using Hypervisor.Protocol;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>Gangs that are missing members, as one leader remembers them: the next one begins anew. Used by who looks at groups, one at a time.</summary>
internal sealed class PendingGangs
{
    private readonly Dictionary<string, PendingGang> _byGroup = new(StringComparer.Ordinal);

    public PendingGang? Find(string group) => _byGroup.GetValueOrDefault(group);

    public void Set(GroupEntry group, PendingGang gang) => _byGroup[group.Uid] = gang;

    /// <returns>What was remembered of it; null when that was nothing.</returns>
    public PendingGang? Forget(string group) => _byGroup.Remove(group, out var gang) ? gang : null;
}

/// <summary>The members that a gang is missing.</summary>
/// <param name="SpecRevision">Of the group that they are to be members of.</param>
/// <param name="Members">Ids that they will have: under these, places are kept for them. Empty once they were used.</param>
/// <param name="Asked">Since when some are missing, as far as this leader knows.</param>
internal sealed record PendingGang(long SpecRevision, IReadOnlyList<InstanceId> Members, DateTimeOffset Asked)
{
    /// <summary>Why there is none yet; null while nothing is known.</summary>
    public GroupStop? Stop { get; set; }

    /// <summary>When it was last found not to fit, a timestamp of the clock; null while it was not.</summary>
    public long? RefusedAt { get; set; }
}
