namespace Hypervisor.TestCluster.Traces;

/// <summary>The store's files as they were when a sync had just returned.</summary>
/// <param name="Sync">Which one, counted from 1.</param>
/// <param name="Owed">
/// Every record acknowledged before the next sync returned: nothing that was written since then was durable by itself, so if the
/// power fails there, this copy is what the disk may hold.
/// </param>
internal sealed record CopiedAtSync(int Sync, IReadOnlySet<int> Owed)
{
    /// <summary>Durable, by copies: one line for a copy that lacks acknowledged records; null if it has them all.</summary>
    /// <param name="held">The records that the store reads from the copy.</param>
    public string? Lost(IReadOnlySet<int> held)
    {
        var lost = Owed.Where(record => !held.Contains(record)).Order().ToList();
        return lost.Count == 0
            ? null
            : $"the copy at sync {Sync} lacks {lost.Count} of {Owed.Count} records acknowledged before the next one: "
                + string.Join(", ", lost.Take(5));
    }
}
