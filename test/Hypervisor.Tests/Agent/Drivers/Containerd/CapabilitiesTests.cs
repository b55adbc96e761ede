using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: HostConfined — no request gives a container power over its host.</summary>
public sealed class CapabilitiesTests
{
    [Fact]
    public void The_default_is_dockers_fourteen() => Assert.Equal(14, Capabilities.Resolve([], []).Count);

    [Fact]
    public void Names_are_taken_with_and_without_prefix_in_any_case() =>
        Assert.Equal(["CAP_KILL", "CAP_NET_ADMIN"], Capabilities.Resolve(["net_admin", "CAP_KILL"], ["all"]));

    [Theory]
    [InlineData("SYS_ADMIN")]
    [InlineData("CAP_SYS_MODULE")]
    [InlineData("SYS_RAWIO")]
    [InlineData("DAC_READ_SEARCH")]
    [InlineData("BPF")]
    [InlineData("ALL")]
    public void Power_over_the_host_is_refused(string name) =>
        Assert.Equal("CapabilityRefused", Assert.Throws<DriverException>(() => Capabilities.Resolve([name], [])).Reason);

    [Fact]
    public void Unknown_names_are_refused_on_both_sides()
    {
        Assert.Equal("CapabilityUnknown", Assert.Throws<DriverException>(() => Capabilities.Resolve(["FLY"], [])).Reason);
        Assert.Equal("CapabilityUnknown", Assert.Throws<DriverException>(() => Capabilities.Resolve([], ["FLY"])).Reason);
    }
}
