using Hypervisor.Server.State;

namespace Hypervisor.Server.Groups;

/// <summary>What a group is to have, and how far it may be off meanwhile.</summary>
/// <param name="Revision">Of the wanted template.</param>
/// <param name="Surge">How many more than <paramref name="Count"/> there may be during an update.</param>
/// <param name="MaxUnavailable">How many fewer may be available because of it.</param>
internal readonly record struct GroupTargets(int Count, long Revision, int Surge, int MaxUnavailable)
{
    /// <summary>Fewer are never available because of the update.</summary>
    public int MinAvailable => Math.Max(0, Count - MaxUnavailable);

    public static GroupTargets Of(GroupEntry group) => new(
        group.Spec.Count, group.Record.Revision, group.Spec.Update.MaxSurge, group.Spec.Update.MaxUnavailable);
}
