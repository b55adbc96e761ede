using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: what may be placed on a node is its capacity without the reserve, times the overcommit, and never below zero.</summary>
public sealed class NodeEntryTests
{
    private static readonly Resources Capacity = new() { CpuMillicores = 3000, MemoryBytes = 1001, DiskBytes = 500 };

    public static TheoryData<NodeSpec?, long, long, long> Specs => new()
    {
        { null, 3000, 1001, 500 },
        { new(), 3000, 1001, 500 },
        { new() { Overcommit = new() }, 3000, 1001, 500 },
        { new() { Overcommit = new() { Cpu = 1, Memory = 1 } }, 3000, 1001, 500 },
        { new() { Overcommit = new() { Cpu = 16, Memory = 1.5 } }, 48_000, 1501, 500 },

        // Not 6,899 and 3,449, as in binary.
        { new() { Overcommit = new() { Cpu = 2.3 } }, 6900, 1001, 500 },
        { new() { Overcommit = new() { Cpu = 1.15 } }, 3450, 1001, 500 },
        { new() { Reserved = new() { CpuMillicores = 500, MemoryBytes = 1, DiskBytes = 500 } }, 2500, 1000, 0 },
        { new() { Reserved = new() { CpuMillicores = 500, MemoryBytes = 1 }, Overcommit = new() { Cpu = 2, Memory = 2 } }, 5000, 2000, 500 },
        { new() { Reserved = new() { CpuMillicores = 9000, MemoryBytes = 1001, DiskBytes = 501 }, Overcommit = new() { Cpu = 4, Memory = 4 } }, 0, 0, 0 },
    };

    [Theory]
    [MemberData(nameof(Specs))]
    public void Reserve_comes_off_first_and_overcommit_multiplies_the_rest(NodeSpec? spec, long cpuMillicores, long memoryBytes, long diskBytes) =>
        Assert.Equal(new ResourceAmount(cpuMillicores, memoryBytes, diskBytes), Entry(spec, Capacity).Allocatable);

    [Fact]
    public void The_largest_machine_is_overcommitted_without_overflow() =>
        Assert.Equal(
            long.MaxValue / 32 * 16,
            Entry(new() { Overcommit = new() { Memory = 16 } }, new() { MemoryBytes = long.MaxValue / 32 }).Allocatable.MemoryBytes);

    [Fact]
    public void Devices_are_kept_back_by_name_and_never_overcommitted()
    {
        var capacity = new Resources { Devices = { ["gpu"] = 3, ["nic"] = 1 } };
        var spec = new NodeSpec { Overcommit = new() { Cpu = 4, Memory = 4 }, Reserved = new() { Devices = { ["gpu"] = 1, ["nic"] = 2, ["tpu"] = 1 } } };

        Assert.Equal([new DeviceAmount("gpu", 2)], Entry(spec, capacity).AllocatableDevices.Each);
        Assert.True(Entry(spec, null).AllocatableDevices.IsNone);
    }

    [Fact]
    public void A_machine_that_is_not_known_yet_takes_nothing() => Assert.Equal(default, Entry(new() { Overcommit = new() { Cpu = 4 } }, null).Allocatable);

    private static NodeEntry Entry(NodeSpec? spec, Resources? capacity) => new()
    {
        Id = new NodeId("n"),
        SpecRecord = new() { Spec = spec },
        SpecRevision = 1,
        ResourceVersion = ResourceVersion.None,
        RegistrationRecord = capacity is null ? null : new NodeRegistrationRecord { Inventory = new() { Capacity = capacity } },
    };
}
