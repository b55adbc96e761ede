using System.Buffers;

namespace Hypervisor.Server.State.Packing;

/// <summary>A trace's parent as W3C writes it (w3.org/TR/trace-context, "traceparent"), in half of its bytes: 00-trace-span-flags, each in hexadecimal.</summary>
internal static class PackedTrace
{
    /// <summary>Bytes that it takes.</summary>
    public const int Size = 26;

    private const int TextSize = 55;

    /// <summary>False for a text that would not come out as it is.</summary>
    /// <param name="packed">As long as <see cref="Size"/>.</param>
    public static bool TryPack(ReadOnlySpan<byte> text, Span<byte> packed)
    {
        if (text.Length != TextSize)
        {
            return false;
        }

        Span<char> digits = stackalloc char[2 * Size];
        var written = 0;
        for (var index = 0; index < TextSize; index++)
        {
            var character = (char)text[index];
            if (index is 2 or 35 or 52 ? character != '-' : !char.IsAsciiHexDigitLower(character))
            {
                return false;
            }

            if (character != '-')
            {
                digits[written++] = character;
            }
        }

        return Convert.FromHexString(digits, packed, out _, out _) == OperationStatus.Done;
    }

    public static string Unpack(ReadOnlySpan<byte> packed)
    {
        var digits = Convert.ToHexStringLower(packed);
        return $"{digits[..2]}-{digits[2..34]}-{digits[34..50]}-{digits[50..]}";
    }
}
