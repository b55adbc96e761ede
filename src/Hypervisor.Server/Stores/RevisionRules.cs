namespace Hypervisor.Server.Stores;

/// <summary>Which revisions can be read, watched and compacted; the same in every store.</summary>
internal static class RevisionRules
{
    /// <exception cref="RevisionCompactedException">It is older than the compacted one.</exception>
    /// <exception cref="ArgumentOutOfRangeException">It does not exist yet.</exception>
    public static void CheckReadable(long revision, long current, long compacted)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(revision, 1);
        if (revision > current)
        {
            throw new ArgumentOutOfRangeException(nameof(revision), revision, $"The store is at revision {current}; a later one cannot be read yet.");
        }

        if (revision < compacted)
        {
            throw new RevisionCompactedException(compacted);
        }
    }

    /// <exception cref="RevisionCompactedException">Changes from the revision on are no longer all held.</exception>
    public static void CheckWatchable(long fromRevision, long compacted)
    {
        if (fromRevision < compacted)
        {
            throw new RevisionCompactedException(compacted);
        }
    }

    /// <returns>False if that much is compacted already.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The revision does not exist yet.</exception>
    public static bool CheckCompaction(long revision, long current, long compacted)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(revision, 1);
        if (revision > current)
        {
            throw new ArgumentOutOfRangeException(nameof(revision), revision, $"The store is at revision {current}; a later one cannot be compacted.");
        }

        return revision > compacted;
    }

    /// <summary>The part of the batch under the prefix; null if nothing is.</summary>
    public static ChangeBatch? Matching(this ChangeBatch batch, string prefix)
    {
        var matching = 0;
        foreach (var change in batch.Changes)
        {
            matching += change.Current.Key.StartsWith(prefix, StringComparison.Ordinal) ? 1 : 0;
        }

        return matching == 0 ? null
            : matching == batch.Changes.Count ? batch
            : batch with { Changes = [.. batch.Changes.Where(change => change.Current.Key.StartsWith(prefix, StringComparison.Ordinal))] };
    }
}
