namespace Hypervisor.TestCluster.Histories;

/// <summary>An answer that named the store's revision.</summary>
/// <param name="Who">For people.</param>
internal sealed record RevisionSeen(string Who, long Invoked, long Returned, long Revision);

/// <summary>RevisionMonotonic: whoever asks after somebody was answered is told the same revision or a later one.</summary>
internal static class RevisionOrder
{
    public static IReadOnlyList<string> Violations(IEnumerable<RevisionSeen> answers)
    {
        var all = answers.ToList();
        Queue<RevisionSeen> returned = new(all.OrderBy(answer => answer.Returned));
        List<string> violations = [];
        RevisionSeen? highest = null;
        foreach (var answer in all.OrderBy(answer => answer.Invoked))
        {
            while (returned.TryPeek(out var earlier) && earlier.Returned < answer.Invoked)
            {
                returned.Dequeue();
                highest = highest is null || earlier.Revision > highest.Revision ? earlier : highest;
            }

            if (highest is not null && answer.Revision < highest.Revision)
            {
                violations.Add($"{answer} after {highest}");
            }
        }

        return violations;
    }
}
