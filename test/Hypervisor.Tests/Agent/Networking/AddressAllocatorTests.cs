using System.Net;
using CsCheck;
using Hypervisor.Agent.Networking.Addressing;
using Xunit;

namespace Hypervisor.Tests.Agent.Networking;

/// <summary>Protects: one holder per address, none outside the usable range (AddressUnique).</summary>
public sealed class AddressAllocatorTests
{
    [Fact]
    public void Whatever_is_allocated_and_released_no_address_has_two_holders() =>
        Gen.Select(Gen.UInt, Gen.Int[24, 30], Gen.Int[0, 2].Array[0, 200]).Sample((address, prefix, steps) =>
        {
            var subnet = new Ipv4Subnet(address, prefix);
            var size = (int)(subnet.LastInstance - subnet.FirstInstance + 1);
            var allocator = new AddressAllocator();
            var held = new List<uint>();
            foreach (var step in steps)
            {
                if (step == 0 && held.Count > 0)
                {
                    allocator.Release(held[0]);
                    held.RemoveAt(0);
                }
                else if (allocator.Allocate(subnet) is { } given)
                {
                    Assert.InRange(given, subnet.FirstInstance, subnet.LastInstance);
                    Assert.DoesNotContain(given, held);
                    held.Add(given);
                }
                else
                {
                    Assert.Equal(size, held.Count);
                }
            }
        });

    [Fact]
    public void A_released_address_rests_until_all_others_had_their_turn()
    {
        var subnet = Ipv4Subnet.Of(IPNetwork.Parse("10.0.0.0/29"));
        var allocator = new AddressAllocator();
        var first = allocator.Allocate(subnet)!.Value;
        allocator.Release(first);

        uint?[] next = [.. Enumerable.Range(0, 5).Select(_ => allocator.Allocate(subnet))];

        Assert.Equal(first, next[^1]);
        Assert.Null(allocator.Allocate(subnet));
    }

    [Fact]
    public void A_reserved_address_is_not_given_out_and_not_reserved_twice()
    {
        var subnet = Ipv4Subnet.Of(IPNetwork.Parse("10.0.0.0/30"));
        var allocator = new AddressAllocator();

        Assert.True(allocator.TryReserve(subnet.FirstInstance));
        Assert.False(allocator.TryReserve(subnet.FirstInstance));
        Assert.Null(allocator.Allocate(subnet));
    }

    [Fact]
    public void A_subnet_knows_its_gateway_broadcast_and_neighbours()
    {
        var subnet = Ipv4Subnet.Of(IPNetwork.Parse("10.66.4.0/22"));

        Assert.Equal("10.66.4.1", subnet.Gateway.ToAddress().ToString());
        Assert.Equal("10.66.4.2", subnet.FirstInstance.ToAddress().ToString());
        Assert.Equal("10.66.7.254", subnet.LastInstance.ToAddress().ToString());
        Assert.Equal("10.66.7.255", subnet.Broadcast.ToAddress().ToString());
        Assert.True(subnet.Overlaps(IPAddress.Parse("10.66.0.9").ToUInt32(), 16));
        Assert.True(subnet.Overlaps(IPAddress.Parse("10.66.7.9").ToUInt32(), 32));
        Assert.False(subnet.Overlaps(IPAddress.Parse("10.66.8.1").ToUInt32(), 24));
    }

    [Fact]
    public void A_hardware_address_follows_from_the_address_and_is_locally_administered()
    {
        var address = IPAddress.Parse("10.66.0.2").ToHardwareAddress();

        Assert.Equal("02680A420002", address.ToString());
        Assert.True(address.IsOurs());
        Assert.Equal(2, address.GetAddressBytes()[0] & 3);
    }
}
