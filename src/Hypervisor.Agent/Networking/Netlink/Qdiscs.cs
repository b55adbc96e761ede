using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>Requests about how fast an interface sends: the token bucket filter of the kernel, tc-tbf(8).</summary>
internal static class Qdiscs
{
    /// <summary>As <see cref="LinkInfo.Qdisc"/> names it.</summary>
    public const string TokenBucket = "tbf";

    private const uint Root = 0xFFFFFFFF;

    /// <summary>"1:", of our own choice: what the kernel makes by itself has none.</summary>
    private const uint Handle = 0x10000;

    /// <summary>Otherwise the kernel wants a table of times, from when it could not divide.</summary>
    private const byte Ethernet = 1;

    /// <summary>Sets the rate at which an interface sends, or changes it.</summary>
    public static void LimitRate(this NetlinkSocket socket, int link, long bytesPerSecond) =>
        socket.Execute(RateLimitation(link, bytesPerSecond), $"cannot limit interface {link} to {bytesPerSecond} bytes per second");

    /// <summary>What an interface sends is as fast as it can be again.</summary>
    public static void RemoveRate(this NetlinkSocket socket, int link) =>
        socket.Execute(Message(MessageType.DeleteQdisc, 0, link, handle: 0), $"cannot lift the limit of interface {link}");

    public static NetlinkRequest RateLimitation(int link, long bytesPerSecond)
    {
        var burst = Math.Max(NetworkLimits.SmallestBurst, In(NetworkLimits.Burst, bytesPerSecond));
        var queue = Math.Max(NetworkLimits.SmallestBurst, In(NetworkLimits.ReceiveQueue, bytesPerSecond));
        var parameters = new TokenBucketParameters
        {
            Rate = new RateStructure { LinkLayer = Ethernet, BytesPerSecond = (uint)Math.Min(bytesPerSecond, uint.MaxValue) },
            QueueBytes = (uint)Math.Min(burst + queue, uint.MaxValue),
        };
        return Message(MessageType.NewQdisc, MessageFlag.Create | MessageFlag.Replace, link, Handle)
            .Attribute(QdiscAttribute.Kind, TokenBucket)
            .Nest(QdiscAttribute.Options, options => options
                .Attribute(QdiscAttribute.TbfParameters, MemoryMarshal.AsBytes(new ReadOnlySpan<TokenBucketParameters>(in parameters)))
                .Attribute(QdiscAttribute.TbfBurst, (uint)burst)
                .Attribute(QdiscAttribute.TbfRate64, MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in bytesPerSecond))));
    }

    private static long In(TimeSpan time, long bytesPerSecond) => (long)(time.TotalSeconds * bytesPerSecond);

    private static NetlinkRequest Message(ushort type, int flags, int link, uint handle) =>
        new NetlinkRequest(type, (ushort)(flags | MessageFlag.Request | MessageFlag.Acknowledge))
            .Append(new QdiscStructure { Link = link, Handle = handle, Parent = Root });

    /// <summary>struct tcmsg.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct QdiscStructure
    {
        public uint Family;
        public int Link;
        public uint Handle;
        public uint Parent;
        public uint Info;
    }

    /// <summary>struct tc_ratespec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct RateStructure
    {
        public byte CellLog;
        public byte LinkLayer;
        public ushort Overhead;
        public short CellAlign;
        public ushort SmallestPacket;
        public uint BytesPerSecond;
    }

    /// <summary>struct tc_tbf_qopt.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TokenBucketParameters
    {
        public RateStructure Rate;
        public RateStructure PeakRate;
        public uint QueueBytes;
        public uint BurstTicks;
        public uint PeakBurst;
    }
}
