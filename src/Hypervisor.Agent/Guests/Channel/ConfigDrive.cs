using System.Buffers.Binary;
using System.Text;
using Hypervisor.Agent.Native;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>How the main process of a guest ended, as the init wrote it. A guest can write what it likes: only the guest itself may suffer from it.</summary>
/// <param name="Code">0 to 255, as shells have it.</param>
/// <param name="Signal">0 to 64; 0 when it ended by itself.</param>
/// <param name="Reason">Why it could not be started ("CommandNotFound", …); null when it was.</param>
/// <param name="Message">Of the reason; printable.</param>
internal sealed record GuestExit(long Run, int Code, int Signal, bool OutOfMemory, string? Reason, string Message);

/// <summary>The small disk by which a guest is told what to run, and tells how that ended. See docs/decisions/0009-guest-init.md.</summary>
internal static class ConfigDrive
{
    private const int HeaderBytes = 64;
    private const int BlockBytes = 4096;
    private const int ExitBytes = 512;
    private const uint Version = 1;
    private const int EntropyBytes = 64;
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Replaces the drive as a whole; the exit of an earlier run is gone with it.</summary>
    /// <exception cref="Drivers.DriverException">ArgumentInvalid, ConfigurationTooLarge.</exception>
    public static void Write(string path, GuestConfig config, IRandomSource random)
    {
        Span<byte> entropy = stackalloc byte[EntropyBytes];
        random.Fill(entropy);
        WholeFile.Write(path, Render(Records.Of(config).AddRandom(entropy).Written.Span, config.DriveBytes), Private, durable: true);
    }

    /// <summary>The exit of one run; null when it has not ended by itself, or what is there makes no sense.</summary>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static GuestExit? ReadExit(string path, long run)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var length = RandomAccess.GetLength(file);
        Span<byte> sector = stackalloc byte[ExitBytes];
        return length >= HeaderBytes + ExitBytes && RandomAccess.Read(file, sector, length - ExitBytes) == ExitBytes ? ParseExit(sector, run) : null;
    }

    /// <summary>CRC-32 as of Ethernet and zlib; against torn writes, not against anybody.</summary>
    internal static uint Checksum(ReadOnlySpan<byte> bytes)
    {
        var crc = uint.MaxValue;
        foreach (var value in bytes)
        {
            crc ^= value;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
            }
        }

        return ~crc;
    }

    internal static byte[] Render(ReadOnlySpan<byte> records, int atLeast = 0)
    {
        var drive = new byte[Math.Max(atLeast, (((HeaderBytes + records.Length + BlockBytes - 1) / BlockBytes) + 1) * BlockBytes)];
        "ZXCONF01"u8.CopyTo(drive);
        BinaryPrimitives.WriteUInt32LittleEndian(drive.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(drive.AsSpan(12), records.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(drive.AsSpan(16), Checksum(records));
        records.CopyTo(drive.AsSpan(HeaderBytes));
        return drive;
    }

    internal static GuestExit? ParseExit(ReadOnlySpan<byte> sector, long run)
    {
        if (!sector.StartsWith("ZXEXIT01"u8)
            || BinaryPrimitives.ReadUInt32LittleEndian(sector[8..]) != Version
            || BinaryPrimitives.ReadUInt32LittleEndian(sector[508..]) != Checksum(sector[..508])
            || BinaryPrimitives.ReadInt64LittleEndian(sector[12..]) != run)
        {
            return null;
        }

        var code = BinaryPrimitives.ReadInt32LittleEndian(sector[20..]);
        var signal = BinaryPrimitives.ReadInt32LittleEndian(sector[24..]);
        var length = BinaryPrimitives.ReadUInt16LittleEndian(sector[30..]);
        return code is >= 0 and <= 255 && signal is >= 0 and <= 64 && length <= ChannelLimits.MessageBytes && sector[28] <= 1
            ? new GuestExit(run, code, signal, sector[28] == 1, StartFailures.NameOf(sector[29]), StartFailures.Printable(sector.Slice(32, length)))
            : null;
    }
}

/// <summary>Why the init could not start a process.</summary>
internal static class StartFailures
{
    public static string? NameOf(byte reason) => reason switch
    {
        0 => null,
        1 => "CommandNotFound",
        2 => "CommandNotExecutable",
        3 => "UserNotFound",
        4 => "WorkingDirectoryInvalid",
        6 => "PathNotFound",
        7 => "PathInvalid",
        _ => "StartFailed",
    };

    /// <summary>What a guest says is shown to its users: no control characters of a terminal.</summary>
    public static string Printable(ReadOnlySpan<byte> text)
    {
        text = text[..Math.Min(text.Length, ChannelLimits.MessageBytes)];
        return string.Concat(Encoding.UTF8.GetString(text).Select(character => char.IsControl(character) ? '?' : character));
    }
}
