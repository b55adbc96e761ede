using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace Hypervisor.Agent.Networking.Addressing;

/// <summary>IPv4 addresses as numbers.</summary>
internal static class Ipv4
{
    public static uint ToUInt32(this IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetwork)
        {
            throw new ArgumentException($"{address} is not an IPv4 address.", nameof(address));
        }

        Span<byte> bytes = stackalloc byte[4];
        address.TryWriteBytes(bytes, out _);
        return BinaryPrimitives.ReadUInt32BigEndian(bytes);
    }

    public static IPAddress ToAddress(this uint address)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, address);
        return new(bytes);
    }

    /// <summary>
    /// The hardware address that belongs to an address of ours: locally administered, so that a neighbour's ARP entry stays
    /// right when an interface is rebuilt, and recognisable as ours.
    /// </summary>
    public static PhysicalAddress ToHardwareAddress(this IPAddress address) => new([.. HardwarePrefix, .. address.GetAddressBytes()]);

    /// <summary>The same as people and programs write it, "02:68:0a:42:00:02".</summary>
    public static string ToHardwareAddressText(this IPAddress address) =>
        string.Join(':', address.ToHardwareAddress().GetAddressBytes().Select(part => part.ToString("x2", CultureInfo.InvariantCulture)));

    public static bool IsOurs(this PhysicalAddress address) => address.GetAddressBytes().AsSpan().StartsWith(HardwarePrefix);

    private static ReadOnlySpan<byte> HardwarePrefix => [0x02, 0x68];
}
