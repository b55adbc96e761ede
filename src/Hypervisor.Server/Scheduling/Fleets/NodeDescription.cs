using Hypervisor.Protocol;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>A node without what is on it.</summary>
/// <param name="Node">With nothing allocated.</param>
/// <param name="Version">Another one means that something of it may have changed.</param>
internal sealed record NodeDescription(CandidateNode Node, (long Spec, long Registration, long Health) Version)
{
    public NodeId Id => Node.Id;
}
