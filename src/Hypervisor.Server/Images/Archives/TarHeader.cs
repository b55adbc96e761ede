using System.Buffers.Binary;
using System.Text;

namespace Hypervisor.Server.Images.Archives;

/// <summary>The 512 bytes before an entry's data (POSIX.1-2017, pax, "ustar Interchange Format").</summary>
internal readonly record struct TarHeader(string Name, char Type, long Size, string LinkName, long DeviceMajor, long DeviceMinor)
{
    public static TarHeader Parse(ReadOnlySpan<byte> block, string what)
    {
        long sum = 8 * ' ';
        for (var index = 0; index < block.Length; index++)
        {
            sum += index is >= 148 and < 156 ? 0 : block[index];
        }

        if (!TryNumber(block[148..156], out var checksum) || checksum != sum)
        {
            throw new InvalidImageException($"{what} is not a tar archive, or is damaged: a header's checksum is wrong.");
        }

        var posix = block[257..265].SequenceEqual("ustar\u000000"u8);
        var gnu = block[257..265].SequenceEqual("ustar  \0"u8);
        if (posix && block[508..512].SequenceEqual("tar\0"u8))
        {
            throw new InvalidImageException($"{what} is in star's own tar format; make it with GNU tar, BSD tar or an image tool.");
        }

        var name = Text(block[..100]);
        var prefix = posix ? Text(block[345..500]) : "";
        if (!TryNumber(block[124..136], out var size) || size < 0)
        {
            throw new InvalidImageException($"{what} has the entry \"{ArchivePath.Show(name)}\" without a valid size.");
        }

        long major = 0;
        long minor = 0;
        if ((posix || gnu) && (!TryNumber(block[329..337], out major) || !TryNumber(block[337..345], out minor)))
        {
            throw new InvalidImageException($"{what} has the entry \"{ArchivePath.Show(name)}\" without valid device numbers.");
        }

        return new TarHeader(prefix.Length > 0 ? $"{prefix}/{name}" : name, (char)block[156], size, Text(block[157..257]), major, minor);
    }

    private static string Text(ReadOnlySpan<byte> field)
    {
        var end = field.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? field : field[..end]);
    }

    /// <summary>Octal text between blanks, or, with the highest bit set, a big-endian number (GNU's base-256).</summary>
    private static bool TryNumber(ReadOnlySpan<byte> field, out long value)
    {
        value = 0;
        if ((field[0] & 0x80) != 0)
        {
            // Sizes beyond 63 bits and negative ones have other leading bytes.
            if (field[0] != 0x80 || field[1..^8].ContainsAnyExcept((byte)0) || field.Length < 9)
            {
                return field.Length == 8 && field[0] == 0x80 && Narrow(field, out value);
            }

            value = BinaryPrimitives.ReadInt64BigEndian(field[^8..]);
            return value >= 0;
        }

        var text = field.Trim(" \0"u8);
        foreach (var digit in text)
        {
            if (digit is < (byte)'0' or > (byte)'7')
            {
                return false;
            }

            value = (value << 3) | (uint)(digit - '0');
        }

        return true;
    }

    private static bool Narrow(ReadOnlySpan<byte> field, out long value)
    {
        value = 0;
        foreach (var part in field[1..])
        {
            value = (value << 8) | part;
        }

        return true;
    }
}
