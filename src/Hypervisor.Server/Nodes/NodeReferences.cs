using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>How users name a node: name, uid or unique uid prefix, in this order.</summary>
internal static class NodeReferences
{
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT when empty; FAILED_PRECONDITION when ambiguous; NOT_FOUND.</exception>
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

        List<NodeEntry> matches = reference.Length < Limits.Api.UidPrefixLength ? [] : [.. view.NodesByUidPrefix(reference).Take(2)];
        return matches switch
        {
            [var only] => only,
            [] => throw ApiErrors.NotFound("Node", "", Printable.Quote(reference)),
            _ => throw ApiErrors.FailedPrecondition(
                "AMBIGUOUS_UID_PREFIX", $"'{reference}' begins the uid of {matches[0].Name}, {matches[1].Name} and perhaps more; give more of it.",
                "Node", reference),
        };
    }
}
