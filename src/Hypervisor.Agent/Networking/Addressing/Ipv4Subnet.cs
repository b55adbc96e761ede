using System.Net;

namespace Hypervisor.Agent.Networking.Addressing;

/// <summary>A range of IPv4 addresses: network address first, broadcast last, the gateway (the bridge) right after the network.</summary>
internal readonly record struct Ipv4Subnet
{
    /// <summary>Smallest range with a gateway and one instance.</summary>
    public const int LongestPrefix = 30;

    public const int ShortestPrefix = 8;

    /// <param name="address">Any address in it.</param>
    /// <param name="prefixLength">8 to 30.</param>
    public Ipv4Subnet(uint address, int prefixLength)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(prefixLength, ShortestPrefix);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(prefixLength, LongestPrefix);
        PrefixLength = prefixLength;
        Network = address & Mask;
    }

    public uint Network { get; }

    public int PrefixLength { get; }

    public uint Gateway => Network + 1;

    public uint FirstInstance => Network + 2;

    public uint LastInstance => Broadcast - 1;

    public uint Broadcast => Network | ~Mask;

    private uint Mask => uint.MaxValue << (32 - PrefixLength);

    public static Ipv4Subnet Of(IPNetwork network) => new(network.BaseAddress.ToUInt32(), network.PrefixLength);

    public bool Contains(uint address) => (address & Mask) == Network;

    public bool Overlaps(uint address, int prefixLength)
    {
        var wider = prefixLength == 0 ? 0 : uint.MaxValue << (32 - Math.Min(prefixLength, PrefixLength));
        return (address & wider) == (Network & wider);
    }

    public override string ToString() => $"{Network.ToAddress()}/{PrefixLength}";
}
