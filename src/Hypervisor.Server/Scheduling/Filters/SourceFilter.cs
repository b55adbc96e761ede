namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>A clone goes where its source is: disks are local, and copied there.</summary>
internal sealed class SourceFilter : IPlacementFilter
{
    public string Name => "Source";

    public Rejection? Judge(PlacementRequest request, CandidateNode node) => request.Source switch
    {
        null => null,
        { Node: null } => new("cannot copy the disks of its source, which is gone", "cannot copy the disks of its source, which is gone"),
        { Node: { } source } when source != node.Id => new("does not hold the disks of its source", "do not hold the disks of its source"),
        _ => null,
    };
}
