using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Streams;

/// <summary>Where one copy of an instance is, and how it is reached.</summary>
internal sealed record InstanceRoute(InstanceEntry Instance, NodeEntry Node, AgentService.AgentServiceClient Agent, Metadata Headers)
{
    public InstanceCopy Copy => new() { Uid = Instance.Id.Value, Epoch = Instance.Epoch.Value };
}

/// <summary>Finds the way to an instance through its node.</summary>
internal sealed class InstanceRoutes(ViewReads reads, AgentConnections agents)
{
    /// <exception cref="RpcException">
    /// INVALID_ARGUMENT, NOT_FOUND; FAILED_PRECONDITION without a node; UNAVAILABLE when the node is Down.
    /// </exception>
    public async Task<InstanceRoute> ResolveAsync(string project, string instance, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var resolved = Projects.Resolve(project, violations);
        InstanceAddress.Check(instance, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var entry = InstanceAddress.Resolve(view, resolved, instance);
        if (entry.NodeId is not { } nodeId)
        {
            throw ApiErrors.FailedPrecondition(
                "INSTANCE_NOT_PLACED", $"Instance '{entry.Name}' is on no node yet; 'instance why {entry.Name}' tells the reason.", "Instance", entry.Name);
        }

        if (view.Node(nodeId) is not { } node || agents.To(node) is not var (agent, headers))
        {
            throw ApiErrors.Unavailable($"The node of instance '{entry.Name}' is not registered at present.", Limits.Api.RetryUnavailable);
        }

        return node.Liveness == NodeLiveness.Down
            ? throw ApiErrors.Unavailable($"Node '{node.Name}', which holds instance '{entry.Name}', is Down.", Limits.Api.RetryUnavailable)
            : new InstanceRoute(entry, node, agent, headers);
    }
}
