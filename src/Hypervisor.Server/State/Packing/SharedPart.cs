namespace Hypervisor.Server.State.Packing;

/// <summary>A part of records that many of them have in common, kept once, with what follows from it. Immutable.</summary>
internal abstract class SharedPart(byte[] bytes)
{
    /// <summary>In protobuf's wire format. Nobody writes to it.</summary>
    public byte[] Bytes { get; } = bytes;

    /// <summary>How many records had it when they were packed, about; only what is worth keeping depends on it.</summary>
    public int Uses { get; set; } = 1;
}

/// <summary>
/// Finds the object for a part that another record had lately. What it has forgotten is made again, so that it is small and only how much is
/// shared depends on it; for concurrent use, of which the same is true.
/// </summary>
internal sealed class SharedParts<TPart>(Func<byte[], TPart> make)
    where TPart : SharedPart
{
    private const int Sets = 1024;
    private const int Ways = 4;

    /// <summary>Larger ones, cloud-init's user data above all, have few places between them: what nobody has any more stays in its place.</summary>
    private const int SmallBytes = 1024;

    private const int SetsOfLarge = 32;

    private readonly TPart?[] _recent = new TPart?[Sets * Ways];

    public TPart Of(ReadOnlySpan<byte> bytes)
    {
        var hash = default(HashCode);
        hash.AddBytes(bytes);
        var sets = bytes.Length <= SmallBytes ? Sets : SetsOfLarge;
        var set = _recent.AsSpan((int)((uint)hash.ToHashCode() % sets) * Ways, Ways);
        foreach (var part in set)
        {
            if (part is not null && bytes.SequenceEqual(part.Bytes))
            {
                part.Uses++;
                return part;
            }
        }

        // The one that came first gives way.
        var made = make(bytes.ToArray());
        set[..^1].CopyTo(set[1..]);
        set[0] = made;
        return made;
    }
}
