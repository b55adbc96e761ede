namespace Hypervisor.Server.State.Packing;

/// <summary>Fields in protobuf's wire format that are put together in a buffer.</summary>
/// <param name="room">Large enough for all of them.</param>
internal ref struct WirePiece(Span<byte> room)
{
    private const int Delimited = 2;

    private readonly Span<byte> _room = room;
    private int _length;

    public readonly ReadOnlySpan<byte> Bytes => _room[.._length];

    public void Add(scoped ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_room[_length..]);
        _length += bytes.Length;
    }

    /// <summary>A message as a field of another one.</summary>
    public void AddField(int number, scoped ReadOnlySpan<byte> content)
    {
        AddNumber((number << 3) | Delimited);
        AddNumber(content.Length);
        Add(content);
    }

    private void AddNumber(int number)
    {
        for (; number >= 0x80; number >>= 7)
        {
            _room[_length++] = (byte)(number | 0x80);
        }

        _room[_length++] = (byte)number;
    }
}
