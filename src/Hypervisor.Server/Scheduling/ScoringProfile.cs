using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>A scorer's share in a profile.</summary>
internal readonly record struct WeightedScorer(IPlacementScorer Scorer, double Weight);

/// <summary>What "best" means under a strategy: the weighted mean of its scorers.</summary>
internal sealed record ScoringProfile(PlacementStrategy Strategy, IReadOnlyList<WeightedScorer> Scorers)
{
    /// <summary>"bin-pack" or "spread", for people.</summary>
    public string Name => Strategy == PlacementStrategy.Spread ? "spread" : "bin-pack";

    public ScoredNode Score(PlacementRequest request, CandidateNode node)
    {
        var parts = new (string Name, double Score)[Scorers.Count];
        double sum = 0, weights = 0;
        for (var i = 0; i < parts.Length; i++)
        {
            var (scorer, weight) = Scorers[i];
            parts[i] = (scorer.Name, scorer.Score(request, node));
            sum += parts[i].Score * weight;
            weights += weight;
        }

        return new(node, sum / weights, parts);
    }
}

/// <summary>A node that fits, with its score and what it is made of.</summary>
internal readonly record struct ScoredNode(CandidateNode Node, double Score, (string Name, double Score)[] Parts)
{
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
            message.Parts[name] = score;
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
