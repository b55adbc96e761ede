using Google.Protobuf.WellKnownTypes;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>A region of the zones a, b and c with one node each: n1, n2 and n3.</summary>
public sealed class ThreeZones : IAsyncLifetime
{
    public static readonly IReadOnlyList<(string Node, string Zone)> Places = [("n1", "a"), ("n2", "b"), ("n3", "c")];

    private IReadOnlyList<IReadOnlyList<string>> _baselines = [];

    internal LocalCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Cluster = await LocalCluster.StartAsync(new LocalClusterOptions
        {
            AgentYaml = AgentYaml(Places[0].Zone),
            OtherNodes = [.. Places.Skip(1).Select(place => new OtherNode(place.Node, AgentYaml(place.Zone)))],
        });
        await Cluster.ImportBusyboxAsync();
        _baselines = await Task.WhenAll(Cluster.Machines.Select(machine => new Leftovers(machine).ListAsync()));
    }

    /// <summary>Undoes all that a test did, also one that failed, and waits until no machine has a trace of it.</summary>
    internal async Task ClearAsync()
    {
        var left = await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(10));
        await Task.WhenAll(left.Instances.Select(instance => Cluster.DeleteAsync(instance.Metadata.Name)));
        foreach (var (node, _) in Places)
        {
            var request = new UpdateNodeRequest
            {
                Node = new Node
                {
                    Metadata = new ObjectMeta { Name = node },
                    Spec = new NodeSpec { Scheduling = NodeScheduling.Schedulable, Overcommit = new Overcommit() },
                },
                UpdateMask = new FieldMask { Paths = { "spec.scheduling", "spec.taints", "spec.overcommit" } },
            };
            await Cluster.Nodes.UpdateNodeAsync(request, deadline: LocalCluster.Deadline(10));
        }

        // Of containers that start at the same time one shim may be left without any; an agent finds it when it looks at everything, each 30 s.
        await Task.WhenAll(Cluster.Machines.Zip(
            _baselines, (machine, baseline) => machine.LeavesAsync(baseline, $"the test, on {machine.Hostname},", seconds: 45)));
    }

    public ValueTask DisposeAsync() => Cluster?.DisposeAsync() ?? ValueTask.CompletedTask;

    // No guest runs here, and three trials at once would only keep the cores busy.
    private static string AgentYaml(string zone) => $"region: here\nzone: {zone}\naccelerator: none";
}
