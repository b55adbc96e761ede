using System.Collections.Immutable;

namespace Hypervisor.Server.State;

/// <summary>How many members a group has. Kept with every change of a member, so that nobody has to count a hundred thousand.</summary>
/// <param name="Current">Without those that are being deleted.</param>
/// <param name="Ready">Of the current ones.</param>
/// <param name="ByRevision">The current ones by the revision of the template that they were made from; none that is zero.</param>
internal sealed record GroupTally(int Current, int Ready, int Deleting, ImmutableSortedDictionary<long, int> ByRevision)
{
    public static GroupTally None { get; } = new(0, 0, 0, ImmutableSortedDictionary<long, int>.Empty);

    public int Of(long revision) => ByRevision.GetValueOrDefault(revision);

    /// <param name="sign">1 to count the member, -1 to count it no longer.</param>
    public GroupTally With(InstanceEntry member, int sign)
    {
        if (member.Deleting)
        {
            return this with { Deleting = Deleting + sign };
        }

        var revision = member.OwnerRevision;
        var left = Of(revision) + sign;
        return this with
        {
            Current = Current + sign,
            Ready = Ready + (MemberState.IsReady(member) ? sign : 0),
            ByRevision = left == 0 ? ByRevision.Remove(revision) : ByRevision.SetItem(revision, left),
        };
    }
}
