using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Nodes and requests with everything in order unless said otherwise.</summary>
internal static class Nodes
{
    public const long GiB = 1L << 30;

    public static readonly DateTimeOffset Now = new(2030, 1, 2, 3, 4, 5, TimeSpan.Zero);

    public static CandidateNode Node(
        string name,
        NodeScheduling scheduling = NodeScheduling.Schedulable,
        NodeLiveness liveness = NodeLiveness.Ready,
        ResourceAmount? capacity = null,
        ResourceAmount allocated = default,
        int instances = 0,
        string region = "",
        string zone = "",
        (string Key, string Value)[]? labels = null,
        RuntimeInfo[]? runtimes = null,
        PortClaim[]? ports = null)
    {
        var total = capacity ?? new ResourceAmount(4000, 8 * GiB, 100 * GiB);
        var inventory = new NodeInventory { Region = region, Zone = zone, Capacity = total.ToResources() };
        inventory.Runtimes.AddRange(runtimes ?? [new() { Type = InstanceType.Container, Driver = "containerd", Available = true }]);
        return new(
            new NodeId("uid-" + name), name, scheduling, liveness, inventory,
            (labels ?? []).ToDictionary(label => label.Key, label => label.Value), total, allocated, instances, ports ?? []);
    }

    public static PlacementRequest Request(
        string uid = "i",
        long cpu = 100,
        long memory = 64 << 20,
        long disk = 0,
        InstanceType type = InstanceType.Container,
        string region = "",
        string zone = "",
        (string Key, string Value)[]? selector = null,
        PortClaim[]? ports = null,
        PlacementStrategy strategy = PlacementStrategy.Spread) =>
        new(new InstanceId(uid), type, new(cpu, memory, disk), region, zone,
            (selector ?? []).ToDictionary(label => label.Key, label => label.Value), ports ?? [], strategy);

    public static DeviceAmounts Devices(params (string Name, int Count)[] each)
    {
        var resources = new Resources();
        foreach (var (name, count) in each)
        {
            resources.Devices[name] = count;
        }

        return DeviceAmounts.Of(resources);
    }

    public static PlacementDecision Decide(PlacementRequest request, params CandidateNode[] nodes) =>
        Scheduler.Decide(request, new(ResourceVersion.Of(Incarnation.First, 7), nodes), Now);
}
