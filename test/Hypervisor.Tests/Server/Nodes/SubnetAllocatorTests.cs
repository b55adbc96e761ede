using System.Net;
using Hypervisor.Server.Nodes;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>Protects: AddressUnique between nodes: no two pieces of the cluster's network overlap.</summary>
public sealed class SubnetAllocatorTests
{
    [Theory]
    [InlineData("10.128.0.0/10", 24, "", "10.128.0.0/24")]
    [InlineData("10.128.0.0/10", 24, "10.128.0.0/24", "10.128.1.0/24")]
    [InlineData("10.128.0.0/10", 24, "10.128.1.0/24", "10.128.0.0/24")]
    [InlineData("10.128.0.0/10", 24, "10.128.2.0/24 10.128.0.0/24 10.128.1.0/24", "10.128.3.0/24")]
    // Cut with another length before.
    [InlineData("10.128.0.0/10", 24, "10.128.0.0/26", "10.128.1.0/24")]
    [InlineData("10.128.0.0/10", 26, "10.128.0.0/24", "10.128.1.0/26")]
    // Of another network.
    [InlineData("10.128.0.0/10", 24, "10.0.0.0/24 192.168.0.0/24", "10.128.0.0/24")]
    [InlineData("10.0.0.0/24", 25, "10.0.0.0/25 10.0.0.128/25", null)]
    [InlineData("255.255.255.0/24", 25, "255.255.255.0/25 255.255.255.128/25", null)]
    public void The_lowest_free_piece_is_handed_out(string cluster, int length, string used, string? expected) =>
        Assert.Equal(
            expected, SubnetAllocator.Next(IPNetwork.Parse(cluster), length, used.Split(' ', StringSplitOptions.RemoveEmptyEntries)));
}
