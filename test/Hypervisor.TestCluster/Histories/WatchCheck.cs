namespace Hypervisor.TestCluster.Histories;

internal enum WatchStepKind
{
    /// <summary>The client called with <see cref="WatchStep.Position"/>; 0 for a list first.</summary>
    Begun,
    Added,
    Modified,
    Deleted,
    Bookmark,
    Resync,
}

/// <summary>What a watching client did or was told.</summary>
/// <param name="Position">Where the client would resume: it has everything up to there.</param>
internal sealed record WatchStep(WatchStepKind Kind, long Position)
{
    public string Uid { get; init; } = "";

    public string Value { get; init; } = "";

    /// <summary>Of the object; for a deletion, of the deletion.</summary>
    public long Revision { get; init; }

    public override string ToString() => $"{Kind} {Uid} {Value}@{Revision}, position {Position}";
}

/// <summary>
/// WatchExact and WatchEqualsList: what a client was told through all its calls, each resumed where the one before stood, is the
/// store's history, without gap, duplicate or reordering, and the list that a watch begins with is the state at its revision.
/// </summary>
internal static class WatchCheck
{
    /// <param name="until">The watch has to have come so far.</param>
    public static IReadOnlyList<string> Violations(ObjectHistory history, IEnumerable<WatchStep> steps, long until)
    {
        List<string> violations = [];
        Queue<Told> expected = [];
        Dictionary<string, ObjectState>? listing = null;
        long position = 0;
        foreach (var step in steps)
        {
            if (step.Kind == WatchStepKind.Begun)
            {
                if (step.Position > position)
                {
                    violations.Add($"{step}: the client had got to {position} only");
                }

                position = step.Position;
                listing = position == 0 ? new(StringComparer.Ordinal) : null;
                expected = position == 0 ? [] : After(history, position);
                continue;
            }

            if (step.Kind == WatchStepKind.Resync)
            {
                violations.Add($"{step}: nothing was compacted");
                continue;
            }

            if (listing is not null)
            {
                if (step.Kind == WatchStepKind.Added && step.Position == 0)
                {
                    if (!listing.TryAdd(step.Uid, new ObjectState(step.Value, step.Revision)))
                    {
                        violations.Add($"{step}: listed twice");
                    }

                    continue;
                }

                if (step.Kind != WatchStepKind.Bookmark)
                {
                    violations.Add($"{step}: the list is not complete");
                    continue;
                }

                if (history.ListViolation(step.Position, listing) is { } wrong)
                {
                    violations.Add($"{step}: {wrong}");
                }

                (listing, position, expected) = (null, step.Position, After(history, step.Position));
                continue;
            }

            if (step.Position < position)
            {
                violations.Add($"{step}: the position was {position}");
            }

            if (step.Kind == WatchStepKind.Bookmark)
            {
                if (expected.TryPeek(out var missing) && missing.Revision <= step.Position)
                {
                    violations.Add($"{step}: {missing} was not delivered");
                }
            }
            else if (!expected.TryDequeue(out var told))
            {
                violations.Add($"{step}: the store has no such change");
            }
            else if ((told.Kind, told.Uid, told.Revision) != (step.Kind, step.Uid, step.Revision)
                || (told.Kind != WatchStepKind.Deleted && told.Value != step.Value))
            {
                violations.Add($"{step}: expected {told}");

                // One fault is one line: what was expected comes later, or what came is passed over.
                while (expected.Count > 0 && expected.Peek().Revision <= step.Revision)
                {
                    expected.Dequeue();
                }
            }
            else if (told.EndsRevision ? step.Position != told.Revision : step.Position >= told.Revision)
            {
                var consequence = step.Position < told.Revision ? "repeat" : "lose a part of";
                violations.Add($"{step}: resuming there would {consequence} revision {told.Revision}");
            }

            position = Math.Max(position, step.Position);
        }

        if (position < until)
        {
            violations.Add($"the watch came to {position} and not to {until}");
        }

        return violations;
    }

    private static Queue<Told> After(ObjectHistory history, long revision)
    {
        Queue<Told> told = [];
        var present = history.At(revision).Keys.ToHashSet(StringComparer.Ordinal);
        foreach (var (at, changes) in history.Revisions.SkipWhile(entry => entry.Revision <= revision))
        {
            var shown = changes.Where(change => change.Value is not null || present.Contains(change.Uid))
                .OrderBy(change => change.Uid, StringComparer.Ordinal).ToList();
            foreach (var change in shown)
            {
                var kind = change.Value is null ? WatchStepKind.Deleted
                    : present.Contains(change.Uid) ? WatchStepKind.Modified : WatchStepKind.Added;
                told.Enqueue(new Told(kind, change.Uid, change.Value ?? "", at, change == shown[^1]));
                _ = change.Value is null ? present.Remove(change.Uid) : present.Add(change.Uid);
            }
        }

        return told;
    }

    private sealed record Told(WatchStepKind Kind, string Uid, string Value, long Revision, bool EndsRevision);
}
