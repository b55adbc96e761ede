namespace Hypervisor.Server.State.Packing;

/// <summary>
/// The fields of a message in protobuf's wire format (protobuf.dev/programming-guides/encoding), one after another, without reading what
/// is in them. Messages merge when their bytes are put together, so that the fields may be kept apart and read as one.
/// </summary>
/// <exception cref="ArgumentOutOfRangeException">From <see cref="MoveNext"/>: the message ends within a field.</exception>
internal ref struct WireFields(ReadOnlySpan<byte> message)
{
    private const int Varint = 0;
    private const int Fixed64 = 1;
    private const int Delimited = 2;
    private const int Fixed32 = 5;

    private ReadOnlySpan<byte> _left = message;

    /// <summary>0 for what cannot be told apart; that is all that is left.</summary>
    public int Number { get; private set; }

    /// <summary>With its tag.</summary>
    public ReadOnlySpan<byte> Whole { get; private set; }

    /// <summary>Of a string, bytes or a message; empty for others.</summary>
    public ReadOnlySpan<byte> Content { get; private set; }

    /// <summary>A string, bytes or a message.</summary>
    public bool IsDelimited { get; private set; }

    public bool MoveNext()
    {
        if (_left.IsEmpty)
        {
            return false;
        }

        var (tag, length) = Read(_left);
        (Number, IsDelimited) = ((int)(tag >> 3), false);
        Content = default;
        switch (tag & 7)
        {
            case Varint:
                length += Read(_left[length..]).Length;
                break;
            case Fixed64:
                length += sizeof(long);
                break;
            case Fixed32:
                length += sizeof(int);
                break;
            case Delimited:
                var (size, prefix) = Read(_left[length..]);
                length += prefix;
                IsDelimited = true;
                Content = _left.Slice(length, (int)Math.Min(size, int.MaxValue));
                length += Content.Length;
                break;
            default:
                // Groups, which nobody writes any more: their end would have to be looked for.
                (Number, length) = (0, _left.Length);
                break;
        }

        Whole = _left[..length];
        _left = _left[length..];
        return true;
    }

    private static (ulong Value, int Length) Read(ReadOnlySpan<byte> bytes)
    {
        var value = 0UL;
        for (var index = 0; index < 10; index++)
        {
            var next = bytes.Slice(index, 1)[0];
            value |= (ulong)(next & 0x7F) << (7 * index);
            if (next < 0x80)
            {
                return (value, index + 1);
            }
        }

        throw new ArgumentOutOfRangeException(nameof(bytes), "A number takes more than ten bytes.");
    }
}
