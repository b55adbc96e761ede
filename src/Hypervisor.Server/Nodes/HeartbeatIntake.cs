using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Nodes;

/// <summary>Answers heartbeats from memory alone: losing the store silences nobody (NoStorm).</summary>
internal sealed class HeartbeatIntake(NodeAuthenticator nodes, HeartbeatTable beats, HeartbeatTerms terms)
{
    /// <param name="authorization">The header's value; checked with each beat, so that a deregistered node notices.</param>
    /// <exception cref="Grpc.Core.RpcException">UNAUTHENTICATED</exception>
    public HeartbeatResponse Beat(HeartbeatRequest request, string? authorization)
    {
        var node = nodes.Require(request.NodeUid, authorization);
        beats.Record(node.Id, request.ResourceVersion);
        return new()
        {
            Sequence = request.Sequence,
            LeaseDuration = Duration.FromTimeSpan(terms.Lease),
            HeartbeatInterval = Duration.FromTimeSpan(terms.Interval),
        };
    }
}
