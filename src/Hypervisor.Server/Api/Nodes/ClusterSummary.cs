using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Replicas;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>GetClusterInfo.</summary>
/// <param name="replica">This server's name, as it campaigns.</param>
/// <param name="address">Where it is called.</param>
internal sealed class ClusterSummary(
    ViewReads reads, IClusterStore store, ReplicaCalls replicas, ZoneLossReport zones, TimeProvider time, string replica, string address)
{
    /// <summary>Less is the question's own way to the store and back.</summary>
    private static readonly TimeSpan LagStep = TimeSpan.FromMilliseconds(100);

    /// <param name="alone">Another server asks: it wants to know of this one only.</param>
    public async Task<ClusterInfo> GetAsync(Consistency consistency, bool alone, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        RequestChecks.CheckConsistency(consistency, violations);
        violations.ThrowIfAny();
        var asked = time.GetTimestamp();
        var view = await reads.ViewAsync(consistency, cancellationToken);
        var lag = consistency == Consistency.Stale ? reads.Age : time.GetElapsedTime(asked);
        var others = alone ? [] : await OthersAsync(view.Leader?.Candidate ?? "", consistency, cancellationToken);
        var nodes = view.Nodes.ToList();
        var leader = view.Leader?.Candidate ?? "";
        var info = new ClusterInfo
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
            Capacity = nodes.Aggregate(default(NodeAllocation), (sum, node) => sum + node.Inventory?.Capacity).ToResources(),
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
        info.Replicas.AddRange(others.Select(other => other.Replicas.Single()));
        info.Conditions.AddRange(zones.Condition is { } condition ? [condition] : others.SelectMany(other => other.Conditions).Take(1));
        return info;
    }

    private async Task<IReadOnlyList<ClusterInfo>> OthersAsync(string leader, Consistency consistency, CancellationToken cancellationToken)
    {
        try
        {
            var others = await replicas.AskOthersAsync(consistency, cancellationToken);
            foreach (var other in others.Select(other => other.Replicas.Single()))
            {
                // As this server's view has it, so that the answer names one leader.
                other.Leader = other.Name == leader;
            }

            return others;
        }
        catch (StoreUnavailableException) when (consistency == Consistency.Stale)
        {
            // Who they are is in the store, which is away; the rest can be said.
            return [];
        }
    }

    private static bool IsRunning(InstanceEntry instance) =>
        instance.Node?.Liveness is not NodeLiveness.Down && instance.ReportedState == InstanceState.Running;
}
