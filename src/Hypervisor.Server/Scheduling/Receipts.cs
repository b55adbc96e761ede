using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Scheduling;

/// <summary>What is kept of a placement, in few bytes, and what is made of it for whoever asks.</summary>
internal static class Receipts
{
    /// <summary>Of a kept one. Names of nodes may have 63 characters: then fewer candidates are kept.</summary>
    public const int MaxBytes = 256;

    private const string Preferred = "Preferred";
    private const string Neighbours = "Neighbours";

    public static CompactReceipt Of(Fleet fleet, RequestClass request, in Ranking ranking, long version, DateTimeOffset decidedAt)
    {
        var receipt = new CompactReceipt
        {
            ViewResourceVersion = version,
            Class = request.Id,
            Strategy = request.Request.Strategy,
            DecidedAtMs = decidedAt.ToUnixTimeMilliseconds(),
            Nodes = fleet.NodeCount,
        };
        var shape = request.Shape!;
        var refusing = shape.Counts[1..Verdicts.NoNode];
        var last = refusing.LastIndexOfAnyExcept(0);
        for (var filter = 0; filter <= last; filter++)
        {
            receipt.Removed.Add(refusing[filter]);
        }

        Add(receipt, fleet, shape, ranking.First, ranking.FirstScore);
        Add(receipt, fleet, shape, ranking.Second, ranking.SecondScore);
        Add(receipt, fleet, shape, ranking.Third, ranking.ThirdScore);
        while (receipt.Best.Count > 1 && receipt.CalculateSize() > MaxBytes)
        {
            receipt.Best.RemoveAt(receipt.Best.Count - 1);
        }

        return receipt;
    }

    /// <summary>As users see it. Examples of refused nodes are none: those are as of another moment.</summary>
    public static PlacementReceipt Expand(CompactReceipt receipt, long epoch)
    {
        var strategy = Scheduler.ProfileOf(receipt.Strategy);
        var expanded = new PlacementReceipt
        {
            ViewResourceVersion = receipt.ViewResourceVersion,
            Epoch = epoch,
            Node = receipt.Best.Count > 0 ? receipt.Best[0].Node : "",
            NodesConsidered = receipt.Nodes,
            Strategy = strategy.Strategy,
            DecidedAt = DateTimeOffset.FromUnixTimeMilliseconds(receipt.DecidedAtMs).ToTimestamp(),
        };
        var names = Scheduler.NamesOfNodeFilters.ToList();
        for (var filter = 0; filter < Math.Min(receipt.Removed.Count, names.Count); filter++)
        {
            if (receipt.Removed[filter] > 0)
            {
                expanded.Filters.Add(new FilterVerdict { Filter = names[filter], NodesRemoved = receipt.Removed[filter] });
            }
        }

        foreach (var candidate in receipt.Best)
        {
            var score = new CandidateScore { Node = candidate.Node, Score = candidate.Score };
            score.Parts[strategy.Scorer.Name] = candidate.Score - candidate.Preferred - candidate.Neighbours;
            if (candidate.Preferred != 0)
            {
                score.Parts[Preferred] = candidate.Preferred;
            }

            if (candidate.Neighbours != 0)
            {
                score.Parts[Neighbours] = candidate.Neighbours;
            }

            expanded.Candidates.Add(score);
        }

        var fit = receipt.Nodes - receipt.Removed.Sum();
        expanded.Message = $"{expanded.Node} is the best of {fit} with room, of {RejectionTally.NodesText(receipt.Nodes)} ({strategy.Name}).";
        return expanded;
    }

    private static void Add(CompactReceipt receipt, Fleet fleet, RequestShape shape, int row, double score)
    {
        if (row >= 0)
        {
            receipt.Best.Add(new CompactCandidate
            {
                Node = fleet.NameAt(row),
                Score = score,
                Preferred = shape.Able.BonusOf(row),
                Neighbours = score - shape.ScoreOf(row),
            });
        }
    }
}
