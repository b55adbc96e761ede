using Hypervisor.Agent.Node;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Tests.Server.Scheduling;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: whoever asks for a type that no node can run is told which package brings it.</summary>
public sealed class MissingRuntimesTests
{
    [Theory]
    [InlineData(InstanceType.Vm, "apt-get install libvirt-daemon-system qemu-system-x86")]
    [InlineData(InstanceType.Container, "apt-get install containerd runc")]
    [InlineData(InstanceType.Microvm, "apt-get install qemu-system-x86")]
    public void What_is_missing_is_named_with_its_package_as_far_as_the_placement(InstanceType type, string remedy)
    {
        var node = Nodes.Node("a", runtimes: [MissingRuntimes.Without(type)]);

        var rejection = new InstanceTypeFilter().Judge(Nodes.Request(type: type), node);

        Assert.Contains(remedy, rejection!.OfOne, StringComparison.Ordinal);
    }
}
