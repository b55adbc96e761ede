using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol;
using Xunit;

namespace Hypervisor.Tests.Agent.Streams;

/// <summary>Protects: one writes to a console, whoever wrote first, and the next one once they have left.</summary>
public sealed class ConsoleWritersTests
{
    private static readonly InstanceId Web = new("web");

    [Fact]
    public void Who_wrote_first_writes_until_they_leave()
    {
        var writers = new ConsoleWriters();
        using var reader = writers.Enter(Web);
        var first = writers.Enter(Web);
        using var second = writers.Enter(Web);
        Assert.True(reader.MayResize);

        first.Write();
        first.Write();
        Assert.Equal("ConsoleInUse", Assert.Throws<DriverException>(second.Write).Reason);
        Assert.False(reader.MayResize);
        Assert.True(first.MayResize);
        second.Dispose();
        Assert.False(reader.TryWrite());
        first.Dispose();
        Assert.True(reader.TryWrite());
    }

    [Fact]
    public void Consoles_know_nothing_of_each_other()
    {
        var writers = new ConsoleWriters();
        using var here = writers.Enter(Web);
        using var there = writers.Enter(new InstanceId("db"));

        Assert.True(here.TryWrite() && there.TryWrite());
    }
}
