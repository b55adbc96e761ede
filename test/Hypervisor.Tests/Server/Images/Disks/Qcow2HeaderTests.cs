using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Disks;
using Xunit;
using static Hypervisor.Tests.Server.Images.Disks.DiskFiles;

namespace Hypervisor.Tests.Server.Images.Disks;

/// <summary>Protects: a qcow2 that is kept leads nowhere but into itself, and is no larger than was allowed (HostConfined).</summary>
public sealed class Qcow2HeaderTests
{
    private const long Most = 1L << 40;

    [Fact]
    public void A_disk_that_stands_for_itself_is_understood()
    {
        var header = Qcow2Header.Parse(Qcow2(), Most);

        Assert.Equal((3, 16, VirtualSize, 1, (long)L1), (header.Version, header.ClusterBits, header.VirtualSize, header.L1Entries, header.L1Offset));
        Check(Qcow2());
        Check(Qcow2(file => Put32(file, 4, 2)));
    }

    [Theory]
    [InlineData(8, 0x8000UL, "backing file")]
    [InlineData(24, 0UL, "no content")]
    [InlineData(24, (ulong)Most + 1, "virtual size of 1099511627777 bytes")]
    [InlineData(24, ulong.MaxValue, "virtual size")]
    [InlineData(40, 0UL, "lies nowhere")]
    [InlineData(48, ulong.MaxValue, "lies nowhere")]
    [InlineData(72, 1UL, "not closed properly")]
    [InlineData(72, 2UL, "damaged")]
    [InlineData(72, 4UL, "another file")]
    [InlineData(72, 8UL, "compressed in a way")]
    [InlineData(72, 32UL, "features that are not understood (0x20)")]
    [InlineData(72, 1UL << 63, "features that are not understood")]
    public void Bad_long_fields_are_refused(int offset, ulong value, string expected) => Refused(Qcow2(file => Put64(file, offset, value)), expected);

    [Theory]
    [InlineData(4, 1u, "version 1")]
    [InlineData(4, 4u, "version 4")]
    [InlineData(16, 5u, "backing file")]
    [InlineData(20, 8u, "clusters of 2^8")]
    [InlineData(20, 22u, "clusters of 2^22")]
    [InlineData(20, uint.MaxValue, "clusters of")]
    [InlineData(32, 1u, "encrypted")]
    [InlineData(32, 2u, "encrypted")]
    [InlineData(36, 0u, "table of 0 entries")]
    [InlineData(36, uint.MaxValue, "table of")]
    [InlineData(56, 0u, "reference count table")]
    [InlineData(56, 0x10000u, "reference count table")]
    [InlineData(60, 1u, "internal snapshots")]
    [InlineData(96, 7u, "reference counts")]
    [InlineData(100, 64u, "header of 64 bytes")]
    [InlineData(100, uint.MaxValue, "header of")]
    [InlineData(112, 0x44415441u, "another file")]
    [InlineData(112, 0x0537BE77u, "encrypted")]
    public void Bad_short_fields_are_refused(int offset, uint value, string expected) => Refused(Qcow2(file => Put32(file, offset, value)), expected);

    [Fact]
    public void A_forbidden_extension_is_found_behind_harmless_ones()
    {
        Refused(Extended(0x44415441), "another file");
        Refused(Qcow2(file =>
        {
            Put32(file, 112, 0x6803F857);
            Put32(file, 116, uint.MaxValue);
        }), "longer than the header");

        static byte[] Extended(uint type) => Qcow2(file =>
        {
            Put32(file, 112, 0x6803F857);
            Put32(file, 116, 13);
            Put32(file, 112 + 8 + 16, type);
        });
    }

    [Fact]
    public void Every_beginning_of_a_header_is_refused()
    {
        var file = Qcow2();
        for (var length = 0; length < 112; length++)
        {
            Assert.Throws<InvalidImageException>(() => Qcow2Header.Parse(file.AsSpan(0, length), Most));
        }
    }

    [Theory]
    [InlineData(L1, 0x7FFFFFFFFFFF0000UL, "cut off")]
    [InlineData(L1, L2 + 512, "none's beginning")]
    [InlineData(L2, 6UL * Cluster, "cut off")]
    [InlineData(L2, Data + 512UL, "none's beginning")]
    [InlineData(L2 + 8, (1UL << 62) | (7UL * Cluster), "cut off")]
    [InlineData(RefcountTable, 9UL * Cluster, "cut off")]
    [InlineData(40, 17UL * Cluster, "cut off")]
    [InlineData(48, 512UL, "none's beginning")]
    public void Tables_that_lead_out_of_the_file_are_refused(int offset, ulong value, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidImageException>(() => Check(Qcow2(file => Put64(file, offset, value)))).Message, StringComparison.Ordinal);

    [Fact]
    public void A_table_that_is_named_again_and_again_is_read_once()
    {
        // 2^22 entries of one table of 2 MiB each would be terabytes to look through.
        var file = Qcow2(file =>
        {
            Put32(file, 36, 2);
            Put64(file, L1 + 8, L2 | (1UL << 63));
        });

        Assert.Contains("more than once", Assert.Throws<InvalidImageException>(() => Check(file)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Random_damage_is_refused_or_harmless()
    {
        var random = new Random(20261125);
        for (var round = 0; round < 3000; round++)
        {
            var file = Qcow2(bytes =>
            {
                for (var changes = random.Next(1, 4); changes > 0; changes--)
                {
                    bytes[random.Next(2) == 0 ? random.Next(4, 160) : random.Next(5) * Cluster + random.Next(16)] = (byte)random.Next(256);
                }
            });
            try
            {
                Check(file);
            }
            catch (InvalidImageException)
            {
            }
        }
    }

    private static void Check(byte[] file)
    {
        var header = Qcow2Header.Parse(file.AsSpan(0, Cluster), Most);
        Qcow2Tables.Check(header, (offset, buffer) => file.AsSpan((int)offset, buffer.Length).CopyTo(buffer.Span), file.Length, CancellationToken.None);
    }

    private static void Refused(byte[] file, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidImageException>(() => Qcow2Header.Parse(file.AsSpan(0, Cluster), Most)).Message, StringComparison.Ordinal);
}
