using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>Lets an update change what its instance holds of its node, in the transaction that writes it.</summary>
internal interface IResizing
{
    /// <summary>Checks that the node has the room and takes it. Does not wait and writes nothing.</summary>
    /// <param name="dryRun">Check only: <see cref="PlacementProposal.Settle"/> is not called.</param>
    ResizeAnswer Propose(InstanceEntry instance, InstanceSpec spec, bool dryRun);
}

/// <summary>One of three: a proposal, a refusal, or neither when this replica cannot say.</summary>
/// <param name="Refusal">What the node lacks, for people: "has 1 GiB of memory free of the 2 GiB asked for".</param>
internal readonly record struct ResizeAnswer(PlacementProposal? Proposal, string? Refusal = null);
