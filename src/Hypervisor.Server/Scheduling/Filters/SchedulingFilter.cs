using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>What operators decided: cordoned, draining and nodes in maintenance take nothing new.</summary>
internal sealed class SchedulingFilter : IPlacementFilter
{
    private static readonly Rejection Cordoned = new("is cordoned", "are cordoned");
    private static readonly Rejection Draining = new("is draining", "are draining");
    private static readonly Rejection Maintenance = new("is in maintenance", "are in maintenance");

    public string Name => "Scheduling";

    public Rejection? Judge(PlacementRequest request, CandidateNode node) => node.Scheduling switch
    {
        NodeScheduling.Unspecified or NodeScheduling.Schedulable => null,
        NodeScheduling.Draining => Draining,
        NodeScheduling.Maintenance => Maintenance,
        _ => Cordoned,
    };

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.Uncordon, node.Name, $"uncordon {node.Name}") { OnNode = changed => changed with { Scheduling = NodeScheduling.Schedulable } },
    ];
}
