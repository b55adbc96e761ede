using System.Buffers.Binary;
using System.Net;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Hosting.Randomness;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Channel;

/// <summary>Protects: a guest is told what it was meant to be told, and nothing that it writes back is believed without a look.</summary>
public sealed class ConfigDriveTests
{
    private static readonly GuestConfig Config = new()
    {
        Run = 9,
        Uid = "uid",
        Hostname = "name",
        Arguments = ["run", "", "me"],
        Environment = ["A=B"],
        Address = new GuestAddress(IPAddress.Parse("10.128.0.2"), 24, IPAddress.Parse("10.128.0.1"), "02:00:0a:80:00:02", 1450),
        Terminal = true,
        ReadOnlyRoot = true,
    };

    [Fact]
    public void The_drive_is_laid_out_as_the_init_reads_it()
    {
        using var folder = new ScratchFolder();
        ConfigDrive.Write(folder["drive"], Config, new SystemRandomSource());
        var drive = File.ReadAllBytes(folder["drive"]);
        Assert.Equal(0, drive.Length % 4096);
        Assert.Equal("ZXCONF01", Encoding.ASCII.GetString(drive, 0, 8));
        var length = BinaryPrimitives.ReadInt32LittleEndian(drive.AsSpan(12));
        var records = Records(drive.AsSpan(64, length));
        Assert.Equal(["run", "", "me"], records.Where(record => record.Tag == 7).Select(record => Encoding.UTF8.GetString(record.Value)));
        Assert.Equal([10, 128, 0, 2, 24, 10, 128, 0, 1, 2, 0, 10, 128, 0, 2, 0xAA, 5], records.Single(record => record.Tag == 4).Value);
        Assert.Equal(5, BinaryPrimitives.ReadInt32LittleEndian(records.Single(record => record.Tag == 11).Value));
        Assert.Equal(9, BinaryPrimitives.ReadInt64LittleEndian(records.Single(record => record.Tag == 1).Value));
        Assert.Equal(64, records.Single(record => record.Tag == 14).Value.Length);
        Assert.All(drive[^4096..], value => Assert.Equal(0, value));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(folder["drive"]));
        Assert.Null(ConfigDrive.ReadExit(folder["drive"], 9));
    }

    [Fact]
    public void What_no_process_can_be_passed_is_refused_with_the_field()
    {
        using var folder = new ScratchFolder();
        GuestConfig[] bad =
        [
            Config with { Arguments = ["a\0b"] },
            Config with { Environment = [.. Enumerable.Repeat("A=B", 9000)] },
            Config with { Environment = [new string('x', 1 << 20)] },
            Config with { Address = Config.Address! with { Gateway = IPAddress.IPv6Loopback } },
        ];
        Assert.Equal(
            ["ArgumentInvalid", "ArgumentInvalid", "ConfigurationTooLarge", "ArgumentInvalid"],
            bad.Select(config => Assert.Throws<DriverException>(() => ConfigDrive.Write(folder["drive"], config, new SystemRandomSource())).Reason));
        Assert.False(File.Exists(folder["drive"]));
    }

    [Fact]
    public void An_exit_is_read_for_its_own_run_only()
    {
        var sector = Exit(run: 4, code: 143, signal: 15, message: "");
        Assert.Equal(new GuestExit(4, 143, 15, OutOfMemory: false, null, ""), ConfigDrive.ParseExit(sector, 4));
        Assert.Null(ConfigDrive.ParseExit(sector, 5));
    }

    [Theory]
    [InlineData(256, 0)]
    [InlineData(-1, 0)]
    [InlineData(0, 65)]
    [InlineData(0, -1)]
    public void Numbers_that_no_exit_has_are_none(int code, int signal) => Assert.Null(ConfigDrive.ParseExit(Exit(4, code, signal, ""), 4));

    [Fact]
    public void A_message_is_cut_of_what_would_act_on_a_terminal() => Assert.Equal(
        new GuestExit(4, 127, 0, OutOfMemory: false, "CommandNotFound", "?[2Jno"), ConfigDrive.ParseExit(Exit(4, 127, 0, "\u001b[2Jno", reason: 1), 4));

    [Fact]
    public void Any_damaged_byte_makes_it_no_exit()
    {
        var sector = Exit(4, 1, 0, "text");
        for (var at = 0; at < sector.Length; at++)
        {
            var damaged = (byte[])sector.Clone();
            damaged[at] ^= 0x10;
            Assert.Null(ConfigDrive.ParseExit(damaged, 4));
        }

        BinaryPrimitives.WriteUInt16LittleEndian(sector.AsSpan(30), 400);
        Assert.Null(ConfigDrive.ParseExit(Seal(sector), 4));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(511)]
    [InlineData(4096)]
    public void A_file_that_is_no_drive_has_no_exit(int length)
    {
        using var folder = new ScratchFolder();
        File.WriteAllBytes(folder["drive"], new byte[length]);
        Assert.Null(ConfigDrive.ReadExit(folder["drive"], 4));
    }

    private static byte[] Exit(long run, int code, int signal, string message, byte reason = 0)
    {
        var sector = new byte[512];
        "ZXEXIT01"u8.CopyTo(sector);
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(8), 1);
        BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(12), run);
        BinaryPrimitives.WriteInt32LittleEndian(sector.AsSpan(20), code);
        BinaryPrimitives.WriteInt32LittleEndian(sector.AsSpan(24), signal);
        sector[29] = reason;
        BinaryPrimitives.WriteUInt16LittleEndian(sector.AsSpan(30), (ushort)Encoding.UTF8.GetBytes(message, sector.AsSpan(32)));
        return Seal(sector);
    }

    private static byte[] Seal(byte[] sector)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(508), ConfigDrive.Checksum(sector.AsSpan(0, 508)));
        return sector;
    }

    private static List<(int Tag, byte[] Value)> Records(ReadOnlySpan<byte> bytes)
    {
        var found = new List<(int, byte[])>();
        while (bytes.Length > 0)
        {
            var length = BinaryPrimitives.ReadInt32LittleEndian(bytes[2..]);
            found.Add((BinaryPrimitives.ReadUInt16LittleEndian(bytes), bytes.Slice(6, length).ToArray()));
            bytes = bytes[(6 + length)..];
        }

        return found;
    }
}
