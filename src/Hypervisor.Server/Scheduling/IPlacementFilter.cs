namespace Hypervisor.Server.Scheduling;

/// <summary>A reason for which a node cannot take an instance. Pure.</summary>
internal interface IPlacementFilter
{
    /// <summary>As in the receipt, for example "Resources".</summary>
    string Name { get; }

    /// <summary>Null when the node passes.</summary>
    Rejection? Judge(PlacementRequest request, CandidateNode node);

    /// <summary>What to change, all of it, so that a node which was refused passes. Nothing where no change of the request or of the node helps.</summary>
    IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) => [];
}

/// <summary>Why a node was refused, so that it can be said of one node and of many.</summary>
/// <param name="OfOne">Continues "1 node ": "has 512 MiB of memory free of the 2 GiB asked for".</param>
/// <param name="OfMany">Continues "3 nodes ", and is what rejections are counted by: "have less than 2 GiB of memory free".</param>
internal sealed record Rejection(string OfOne, string OfMany);
