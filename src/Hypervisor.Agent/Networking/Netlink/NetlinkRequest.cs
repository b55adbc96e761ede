using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>Builds one netlink message: header, a fixed structure, attributes (RFC 3549; netlink(7)). Host byte order.</summary>
internal sealed class NetlinkRequest
{
    public const int HeaderLength = 16;

    private readonly ArrayBufferWriter<byte> _message = new(256);
    private byte[]? _sealed;

    public NetlinkRequest(ushort type, ushort flags)
    {
        Append(0u);
        Append(type);
        Append(flags);
        Append(0u);
        Append(0u);
    }

    public NetlinkRequest Append<T>(in T value)
        where T : unmanaged
    {
        MemoryMarshal.Write(_message.GetSpan(Unsafe.SizeOf<T>()), in value);
        _message.Advance(Unsafe.SizeOf<T>());
        return this;
    }

    public NetlinkRequest Attribute(ushort type, ReadOnlySpan<byte> value)
    {
        Append((ushort)(4 + value.Length));
        Append(type);
        _message.Write(value);
        return Pad();
    }

    public NetlinkRequest Attribute(ushort type, uint value) => Attribute(type, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    public NetlinkRequest Attribute(ushort type, byte value) => Attribute(type, new ReadOnlySpan<byte>(in value));

    /// <summary>A string with its terminating zero.</summary>
    public NetlinkRequest Attribute(ushort type, string value) => Attribute(type, Encoding.UTF8.GetBytes(value + '\0'));

    /// <summary>An attribute that holds what <paramref name="content"/> appends.</summary>
    public NetlinkRequest Nest(ushort type, Action<NetlinkRequest> content)
    {
        var start = _message.WrittenCount;
        Append((ushort)0);
        Append(type);
        content(this);
        Patch(start, (ushort)(_message.WrittenCount - start));
        return this;
    }

    /// <summary>The finished message. Nothing can be appended afterwards.</summary>
    public ReadOnlySpan<byte> Seal(uint sequence)
    {
        Patch(0, (uint)_message.WrittenCount);
        Patch(8, sequence);
        return _sealed = _message.WrittenSpan.ToArray();
    }

    private NetlinkRequest Pad()
    {
        var missing = -_message.WrittenCount & 3;
        _message.GetSpan(4)[..missing].Clear();
        _message.Advance(missing);
        return this;
    }

    private void Patch<T>(int offset, T value)
        where T : unmanaged
    {
        if (_sealed is not null)
        {
            throw new InvalidOperationException("The message is finished.");
        }

        // The writer only hands out what is not yet written; its own memory is the array behind WrittenMemory.
        MemoryMarshal.TryGetArray(_message.WrittenMemory, out var segment);
        MemoryMarshal.Write(segment.AsSpan(offset), in value);
    }
}
