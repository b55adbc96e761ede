using Grpc.Core;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Node;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Api;

/// <summary>What the server asks of this agent. Console, exec, logs and stats answer UNIMPLEMENTED.</summary>
internal sealed class AgentService(NodeState node, Reconciler reconciler, NodeProfile profile) : Protocol.V1.AgentService.AgentServiceBase
{
    public override Task<AgentInfo> GetAgentInfo(GetAgentInfoRequest request, ServerCallContext context) => Task.FromResult(new AgentInfo
    {
        Version = profile.AgentVersion,
        NodeUid = node.Id.Value,
        Instances = reconciler.Count,
        ResourceVersion = node.AppliedVersion.Value,
    });
}
