namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// What happened to the fleet that may help a request which fitted nowhere, since it was last asked for. Bounded by the fleet's rows and kinds.
/// </summary>
internal sealed class FleetNews
{
    /// <summary>Rows with more room or more free devices than before, or with a port that is free again.</summary>
    public HashSet<int> Roomier { get; } = [];

    /// <summary>Kinds of which one more is somewhere.</summary>
    public HashSet<InstanceKind> Came { get; } = [];

    /// <summary>Kinds of which one fewer is somewhere.</summary>
    public HashSet<InstanceKind> Left { get; } = [];

    public bool IsEmpty => Roomier.Count + Came.Count + Left.Count == 0;

    public void Clear()
    {
        Roomier.Clear();
        Came.Clear();
        Left.Clear();
    }

    /// <summary>One instance was in one place and is in another now, or is larger or smaller than it was; null is nowhere.</summary>
    public void Note(Stay? before, Stay? after, Func<Stay, int> rowOf)
    {
        var stays = before is not null && after is not null && before.Node == after.Node;
        if (before is not null && !(stays && after!.Covers(before)))
        {
            Roomier.Add(rowOf(before));
        }

        if (before is not null && !(stays && after!.Kind == before.Kind))
        {
            Left.Add(before.Kind);
        }

        if (after is not null && !(stays && after.Kind == before!.Kind))
        {
            Came.Add(after.Kind);
        }
    }
}
