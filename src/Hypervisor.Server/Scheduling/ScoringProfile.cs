using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>What "best" means under a strategy, and in words.</summary>
internal sealed record ScoringProfile(PlacementStrategy Strategy, string Name, IPlacementScorer Scorer);

/// <summary>A node that fits, with its score and what it is made of.</summary>
internal readonly record struct ScoredNode(CandidateNode Node, double Score, (string Name, double Score)[] Parts)
{
    /// <summary>The sum of all scorers, added in their order.</summary>
    public static ScoredNode Of(PlacementRequest request, CandidateNode node, IReadOnlyList<IPlacementScorer> scorers)
    {
        var parts = new (string Name, double Score)[scorers.Count];
        var sum = 0.0;
        for (var i = 0; i < parts.Length; i++)
        {
            parts[i] = (scorers[i].Name, scorers[i].Score(request, node));
            sum += parts[i].Score;
        }

        return new(node, sum, parts);
    }

    /// <summary>
    /// Higher scores first; then fewer instances, then names: equal inputs give equal answers on every replica and in every
    /// simulated run.
    /// </summary>
    public bool IsBetterThan(ScoredNode other)
    {
        if (Score != other.Score)
        {
            return Score > other.Score;
        }

        return Node.InstanceCount != other.Node.InstanceCount
            ? Node.InstanceCount < other.Node.InstanceCount
            : string.CompareOrdinal(Node.Name, other.Node.Name) < 0;
    }

    public CandidateScore ToMessage()
    {
        var message = new CandidateScore { Node = Node.Name, Score = Score };
        foreach (var (name, score) in Parts)
        {
            // Terms of one kind are one part.
            message.Parts[name] = message.Parts.TryGetValue(name, out var before) ? before + score : score;
        }

        return message;
    }
}

/// <summary>The best few of all candidates, best first, without sorting the fleet.</summary>
internal sealed class BestCandidates(int capacity)
{
    private readonly List<ScoredNode> _ranked = new(capacity + 1);

    public IReadOnlyList<ScoredNode> Ranked => _ranked;

    public int Offered { get; private set; }

    public void Offer(ScoredNode candidate)
    {
        Offered++;
        var position = _ranked.Count;
        while (position > 0 && candidate.IsBetterThan(_ranked[position - 1]))
        {
            position--;
        }

        if (position < capacity)
        {
            _ranked.Insert(position, candidate);
            if (_ranked.Count > capacity)
            {
                _ranked.RemoveAt(capacity);
            }
        }
    }
}
