using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>How users name a node: name, uid or unique uid prefix, in this order.</summary>
internal static class NodeReferences
{
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT when empty or ambiguous; NOT_FOUND.</exception>
    public static NodeEntry Resolve(ClusterView view, string reference, string field = "node")
    {
        if (reference.Length == 0)
        {
            throw ApiErrors.InvalidArgument(field, "is missing; give a node's name, uid or unique uid prefix");
        }

        if (view.NodeByName(reference) is { } named)
        {
            return named;
        }

        var matches = view.NodesByUidPrefix(reference).Take(2).ToList();
        return matches switch
        {
            [var only] => only,
            [] => throw ApiErrors.NotFound("Node", "", Printable.Quote(reference)),
            _ => throw ApiErrors.InvalidArgument(field, $"'{Printable.Quote(reference)}' begins the uid of several nodes; give more of it"),
        };
    }
}
