using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>What was decided, and why.</summary>
/// <param name="Node">Null when nothing fits.</param>
/// <param name="Reason">While nothing fits: CamelCase, for programs. Empty otherwise.</param>
/// <param name="Receipt">Without epoch, which only the commit knows.</param>
internal sealed record PlacementDecision(CandidateNode? Node, string Reason, string Message, PlacementReceipt Receipt);
