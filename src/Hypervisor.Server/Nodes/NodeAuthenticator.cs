using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>Who an agent-facing call comes from.</summary>
internal sealed class NodeAuthenticator(ClusterState state)
{
    private const string Scheme = "Bearer ";

    /// <summary>The node, if its own credential is presented.</summary>
    /// <param name="authorization">The header's value; null when there was none.</param>
    /// <exception cref="RpcException">UNAUTHENTICATED, the same for an unknown node, a missing and a wrong credential.</exception>
    public NodeEntry Require(string nodeUid, string? authorization)
    {
        var node = state.View.Node(new NodeId(nodeUid));
        var presented = authorization?.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) == true ? authorization[Scheme.Length..] : null;
        return NodeCredentials.Match(node?.RegistrationRecord?.Credential, presented) && node is not null
            ? node
            : throw ApiErrors.Error(
                Code.Unauthenticated,
                "The node's credential is needed: 'authorization: Bearer' with what RegisterNode answered for this node_uid. Register again.");
    }

    /// <summary>Some registered node, for calls that do not depend on which one.</summary>
    /// <exception cref="RpcException">UNAUTHENTICATED.</exception>
    public void RequireAny(string? authorization)
    {
        var presented = authorization?.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) == true ? authorization[Scheme.Length..] : null;
        var known = false;
        foreach (var node in state.View.Nodes)
        {
            known |= NodeCredentials.Match(node.RegistrationRecord?.Credential, presented);
        }

        if (!known)
        {
            throw ApiErrors.Error(
                Code.Unauthenticated,
                "A node's credential is needed: 'authorization: Bearer' with what RegisterNode answered. Register again.");
        }
    }
}
