using System.Buffers.Binary;

namespace Hypervisor.Hosting.Randomness;

/// <summary>Where uids, secrets and jitter come from; injected so that the simulation can replay a run from its seed.</summary>
public interface IRandomSource
{
    /// <summary>Fills the buffer; unpredictable in production.</summary>
    void Fill(Span<byte> buffer);
}

/// <summary>The operating system's generator.</summary>
public sealed class SystemRandomSource : IRandomSource
{
    public void Fill(Span<byte> buffer) => System.Security.Cryptography.RandomNumberGenerator.Fill(buffer);
}

/// <summary>What the product draws from a source.</summary>
public static class RandomSourceExtensions
{
    /// <summary>A random (version 4) UUID in lower-case text.</summary>
    public static string NewUid(this IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.Fill(bytes);
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true).ToString();
    }

    /// <summary>
    /// A UUID in lower-case text that begins with the time (version 7, RFC 9562): those made one after the other are next to each other in whatever is sorted
    /// by them. 74 bits of it are random; its beginning tells of none apart.
    /// </summary>
    /// <param name="now">Shown in milliseconds; not before 1970.</param>
    public static string NewOrderedUid(this IRandomSource random, DateTimeOffset now)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.Fill(bytes);
        BinaryPrimitives.WriteUInt64BigEndian(bytes, ((ulong)now.ToUnixTimeMilliseconds() << 16) | BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]));
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x70);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true).ToString();
    }

    /// <summary>256 bits in lower-case hexadecimal.</summary>
    public static string NewSecret(this IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[32];
        random.Fill(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    /// <summary>Uniform in [0, 1).</summary>
    public static double NextUnit(this IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[8];
        random.Fill(bytes);
        return (BitConverter.ToUInt64(bytes) >> 11) * (1.0 / (1UL << 53));
    }
}
