using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Protects: each filter refuses exactly what it should, in words.</summary>
public sealed class FilterTests
{
    [Theory]
    [InlineData(NodeScheduling.Unspecified, null)]
    [InlineData(NodeScheduling.Schedulable, null)]
    [InlineData(NodeScheduling.Cordoned, "is cordoned")]
    [InlineData(NodeScheduling.Draining, "is draining")]
    [InlineData(NodeScheduling.Maintenance, "is in maintenance")]
    public void Only_schedulable_nodes_pass(NodeScheduling scheduling, string? reason) =>
        Assert.Equal(reason, new SchedulingFilter().Judge(Request(), Node("n", scheduling))?.OfOne);

    [Theory]
    [InlineData(NodeLiveness.Ready, null)]
    [InlineData(NodeLiveness.Suspect, "is late with its heartbeats")]
    [InlineData(NodeLiveness.Down, "is down")]
    [InlineData(NodeLiveness.Unspecified, "has not been heard from yet")]
    public void Only_nodes_that_beat_pass(NodeLiveness liveness, string? reason) =>
        Assert.Equal(reason, new LivenessFilter().Judge(Request(), Node("n", liveness: liveness))?.OfOne);

    [Fact]
    public void A_type_without_driver_and_a_driver_that_cannot_work_are_told_apart()
    {
        var broken = Node("n", runtimes: [new() { Type = InstanceType.Vm, Driver = "libvirt", Message = "/dev/kvm runs no guest" }]);
        var filter = new InstanceTypeFilter();

        Assert.Null(filter.Judge(Request(), Node("n")));
        Assert.Equal("has no driver for VMs", filter.Judge(Request(type: InstanceType.Vm), Node("n"))?.OfOne);
        Assert.Equal("cannot run VMs: libvirt: /dev/kvm runs no guest", filter.Judge(Request(type: InstanceType.Vm), broken)?.OfOne);
    }

    [Fact]
    public void A_clone_goes_where_its_source_is()
    {
        var filter = new SourceFilter();

        Assert.Null(filter.Judge(Request(), Node("n")));
        Assert.Null(filter.Judge(Request() with { Source = new(new NodeId("uid-n")) }, Node("n")));
        Assert.Equal("does not hold the disks of its source", filter.Judge(Request() with { Source = new(new NodeId("uid-m")) }, Node("n"))?.OfOne);
        Assert.Equal(
            "cannot copy the disks of its source, which is gone", filter.Judge(Request() with { Source = new(null) }, Node("n"))?.OfOne);
    }

    [Theory]
    [InlineData(AcceleratorRequirement.Unspecified, Accelerator.None, null)]
    [InlineData(AcceleratorRequirement.Any, Accelerator.Tcg, null)]
    [InlineData(AcceleratorRequirement.Kvm, Accelerator.Kvm, null)]
    [InlineData(AcceleratorRequirement.Kvm, Accelerator.Tcg, "runs guests with software emulation, not with KVM")]
    [InlineData(AcceleratorRequirement.Tcg, Accelerator.Unspecified, "runs guests with nothing, not with software emulation")]
    public void An_accelerator_that_is_asked_for_is_one_that_was_found_to_work(AcceleratorRequirement asked, Accelerator found, string? reason)
    {
        var node = Node("n");
        node.Inventory.Accelerator = found;

        Assert.Equal(reason, new AcceleratorFilter().Judge(Request(type: InstanceType.Microvm) with { Accelerator = asked }, node)?.OfOne);
    }

    [Theory]
    [InlineData("", "", null)]
    [InlineData("eu", "a", null)]
    [InlineData("us", "", "is not in region us")]
    [InlineData("eu", "b", "is not in zone b")]
    public void Region_and_zone_are_honoured(string region, string zone, string? reason) =>
        Assert.Equal(reason, new LocationFilter().Judge(Request(region: region, zone: zone), Node("n", region: "eu", zone: "a"))?.OfOne);

    [Fact]
    public void Every_selected_label_must_be_there_with_its_value()
    {
        var node = Node("n", labels: [("disk", "ssd"), ("gpu", "no")]);
        var filter = new NodeSelectorFilter();

        Assert.Null(filter.Judge(Request(selector: [("disk", "ssd")]), node));
        Assert.Equal("lacks the label gpu=yes", filter.Judge(Request(selector: [("zz", "1"), ("gpu", "yes")]), node)?.OfOne);
    }

    [Theory]
    [InlineData(80, IpProtocol.Tcp, "", "has port 80/tcp taken by another instance")]
    [InlineData(80, IpProtocol.Tcp, "10.0.0.1", "has port 80/tcp taken by another instance")]
    [InlineData(80, IpProtocol.Udp, "", null)]
    [InlineData(81, IpProtocol.Tcp, "", null)]
    [InlineData(53, IpProtocol.Udp, "10.0.0.2", null)]
    [InlineData(53, IpProtocol.Udp, "", "has port 53/udp taken by another instance")]
    public void Host_ports_collide_per_protocol_and_address(int port, IpProtocol protocol, string address, string? reason)
    {
        var node = Node("n", ports: [new(80, IpProtocol.Tcp, ""), new(53, IpProtocol.Udp, "10.0.0.1")]);

        Assert.Equal(reason, new HostPortsFilter().Judge(Request(ports: [new(port, protocol, address)]), node)?.OfOne);
    }

    [Theory]
    [InlineData(1000, 1, 1, null)]
    [InlineData(1001, 1, 1, "has 1 of CPU free of the 1.001 asked for")]
    [InlineData(1, 1025, 1, "has 1 KiB of memory free of the 1 KiB asked for")]
    [InlineData(1, 1, 4096, "has 2 KiB of disk free of the 4 KiB asked for")]
    public void Each_resource_must_fit_into_what_is_free(long cpu, long memory, long disk, string? reason)
    {
        var node = Node("n", capacity: new(2000, 2048, 4096), allocated: new(1000, 1024, 2048));

        Assert.Equal(reason, new ResourcesFilter().Judge(Request(cpu: cpu, memory: memory, disk: disk), node)?.OfOne);
    }

    [Theory]
    [InlineData("", 0, null, null)]
    [InlineData("gpu", 1, null, null)]
    [InlineData("gpu", 2, "has 1 gpu free of the 2 asked for", "have fewer than 2 gpu free")]
    [InlineData("nic", 1, "has 0 nic free of the 1 asked for", "have fewer than 1 nic free")]
    [InlineData("tpu", 1, "has no tpu", "have no tpu")]
    public void Each_device_must_be_free_as_often_as_it_is_asked_for(string name, int count, string? ofOne, string? ofMany)
    {
        var node = Node("n") with { Devices = Devices(("gpu", 3), ("nic", 1)), AllocatedDevices = Devices(("gpu", 2), ("nic", 2)) };

        var rejection = new DevicesFilter().Judge(Request() with { Devices = Devices((name, count)) }, node);

        Assert.Equal((ofOne, ofMany), (rejection?.OfOne, rejection?.OfMany));
    }
}
