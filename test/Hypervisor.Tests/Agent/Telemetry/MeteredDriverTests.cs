using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Telemetry;
using Xunit;

namespace Hypervisor.Tests.Agent.Telemetry;

/// <summary>Protects: what stands between the runners and a driver passes everything on, also what a driver need not have.</summary>
public sealed class MeteredDriverTests
{
    [Fact]
    public void Nothing_of_a_driver_is_answered_for_it()
    {
        var map = typeof(MeteredDriver).GetInterfaceMap(typeof(IInstanceDriver));

        Assert.All(
            map.InterfaceMethods.Zip(map.TargetMethods).Where(pair => pair.First.IsPublic),
            pair => Assert.True(pair.Second?.DeclaringType == typeof(MeteredDriver), $"{pair.First.Name} is the interface's own"));
    }
}
