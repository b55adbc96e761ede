using Google.Protobuf;

namespace Hypervisor.Server.Api.Encoded;

/// <summary>Fields of protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) around bytes that are encoded already.</summary>
internal static class WireBytes
{
    /// <summary>Of a length-delimited field with its tag and length.</summary>
    public static int SizeOf(uint tag, int length) =>
        CodedOutputStream.ComputeRawVarint32Size(tag) + CodedOutputStream.ComputeLengthSize(length) + length;

    /// <returns>How many bytes it took: <see cref="SizeOf"/>.</returns>
    public static int Write(Span<byte> into, uint tag, ReadOnlySpan<byte> content)
    {
        var position = Varint(into, tag);
        position += Varint(into[position..], (uint)content.Length);
        content.CopyTo(into[position..]);
        return position + content.Length;
    }

    private static int Varint(Span<byte> into, uint value)
    {
        var position = 0;
        for (; value > 0x7F; value >>= 7)
        {
            into[position++] = (byte)(value | 0x80);
        }

        into[position++] = (byte)value;
        return position;
    }
}
