using System.Runtime.InteropServices;
using System.Text;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>One message from the kernel, without its header.</summary>
internal readonly record struct NetlinkReply(ushort Type, ushort Flags, uint Sequence, ReadOnlyMemory<byte> Payload)
{
    /// <summary>Splits a datagram. What is truncated or malformed ends the list: the kernel sends no such thing.</summary>
    public static List<NetlinkReply> Split(ReadOnlyMemory<byte> datagram)
    {
        var replies = new List<NetlinkReply>();
        while (datagram.Length >= NetlinkRequest.HeaderLength)
        {
            var header = datagram.Span;
            var length = MemoryMarshal.Read<int>(header);
            if (length < NetlinkRequest.HeaderLength || length > datagram.Length)
            {
                break;
            }

            replies.Add(new(
                MemoryMarshal.Read<ushort>(header[4..]),
                MemoryMarshal.Read<ushort>(header[6..]),
                MemoryMarshal.Read<uint>(header[8..]),
                datagram[NetlinkRequest.HeaderLength..length]));
            datagram = datagram[Math.Min((length + 3) & ~3, datagram.Length)..];
        }

        return replies;
    }

    /// <summary>The attributes that follow a fixed structure of the given length.</summary>
    public NetlinkAttributes Attributes(int structureLength) =>
        new(Payload.Length >= structureLength ? Payload.Span[structureLength..] : []);
}

/// <summary>Enumerates type-length-value attributes.</summary>
internal ref struct NetlinkAttributes(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> _rest = rest;

    public ushort Type { get; private set; }

    public ReadOnlySpan<byte> Value { get; private set; }

    public readonly uint UInt32 => Value.Length >= 4 ? MemoryMarshal.Read<uint>(Value) : 0;

    public readonly string Text => Encoding.UTF8.GetString(Value).TrimEnd('\0');

    public bool MoveNext()
    {
        if (_rest.Length < 4)
        {
            return false;
        }

        var length = MemoryMarshal.Read<ushort>(_rest);
        if (length < 4 || length > _rest.Length)
        {
            return false;
        }

        Type = (ushort)(MemoryMarshal.Read<ushort>(_rest[2..]) & LinkAttribute.TypeMask);
        Value = _rest[4..length];
        _rest = _rest[Math.Min((length + 3) & ~3, _rest.Length)..];
        return true;
    }
}
