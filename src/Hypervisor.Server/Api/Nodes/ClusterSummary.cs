using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>GetClusterInfo.</summary>
/// <param name="replica">This server's name, as it campaigns.</param>
/// <param name="address">Where it is called.</param>
internal sealed class ClusterSummary(ViewReads reads, IClusterStore store, TimeProvider time, string replica, string address)
{
    /// <summary>Less is the question's own way to the store and back.</summary>
    private static readonly TimeSpan LagStep = TimeSpan.FromMilliseconds(100);

    public async Task<ClusterInfo> GetAsync(CancellationToken cancellationToken)
    {
        var asked = time.GetTimestamp();
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var lag = time.GetElapsedTime(asked);
        var nodes = view.Nodes.ToList();
        var leader = view.Leader?.Candidate ?? "";
        return new()
        {
            Version = CommandLine.Version,
            ClusterUid = view.ClusterUid,
            Incarnation = view.Incarnation.Value,
            ResourceVersion = view.ResourceVersion.Value,
            Store = store.Kind,
            Leader = leader,
            NodesReady = nodes.Count(node => node.Liveness == NodeLiveness.Ready),
            NodesTotal = nodes.Count,
            InstancesRunning = view.Instances.Count(IsRunning),
            InstancesTotal = view.InstanceCount,
            Capacity = nodes.Aggregate(default(ResourceAmount), (sum, node) => sum + ResourceAmount.Of(node.Inventory?.Capacity)).ToResources(),
            Allocated = nodes.Aggregate(default(NodeAllocation), (sum, node) => sum + node.Allocated.ToResources()).ToResources(),
            Replicas =
            {
                new ServerReplica
                {
                    Name = replica,
                    GrpcAddress = address,
                    Leader = leader == replica,
                    ResourceVersion = view.ResourceVersion.Value,
                    Lag = Duration.FromTimeSpan(TimeSpan.FromTicks(lag.Ticks - (lag.Ticks % LagStep.Ticks))),
                },
            },
        };
    }

    private static bool IsRunning(InstanceEntry instance) =>
        instance.Node?.Liveness is not NodeLiveness.Down && instance.CurrentStatus?.State == InstanceState.Running;
}
