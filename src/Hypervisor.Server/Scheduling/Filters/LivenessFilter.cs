using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>Only nodes whose heartbeats arrive take new instances.</summary>
internal sealed class LivenessFilter : IPlacementFilter
{
    private static readonly Rejection Suspect = new("is late with its heartbeats", "are late with their heartbeats");
    private static readonly Rejection Down = new("is down", "are down");
    private static readonly Rejection Silent = new("has not been heard from yet", "have not been heard from yet");

    public string Name => "Liveness";

    public Rejection? Judge(PlacementRequest request, CandidateNode node) => node.Liveness switch
    {
        NodeLiveness.Ready => null,
        NodeLiveness.Suspect => Suspect,
        NodeLiveness.Down => Down,
        _ => Silent,
    };

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.ReviveNode, node.Name, $"have {node.Name} report again, which {Judge(request, node)!.OfOne}")
        {
            OnNode = changed => changed with { Liveness = NodeLiveness.Ready },
        },
    ];
}
