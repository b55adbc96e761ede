using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>What a command line asks of one node.</summary>
/// <param name="Paths">What may be different afterwards, as in a field mask.</param>
/// <param name="Apply">Changes the node that was read; called again with a newer one when somebody else was first.</param>
/// <param name="Outcome">Of the node as it was read and as it is now: what to tell about the latter, after its name.</param>
internal sealed record NodeChange(string[] Paths, Action<Node> Apply, Func<Node, Node, string> Outcome);
