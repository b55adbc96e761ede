using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: both versions of control groups are read into the same figures.</summary>
public sealed class CgroupStatisticsTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Version_1_is_read_from_its_hierarchies()
    {
        Put("cpu/cpuacct.usage", "1500000000\n");
        Put("memory/memory.usage_in_bytes", "10000000\n");
        Put("memory/memory.limit_in_bytes", "67108864\n");
        Put("memory/memory.stat", "cache 1\ninactive_file 7\ntotal_inactive_file 4000000\n");
        Put("pids/pids.current", "3\n");
        Put("pids/pids.max", "4096\n");
        Put("blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n8:0 Write 8192\n8:16 Read 1\nTotal 12289\n");
        AssertFigures(Read("cpu", "memory", "pids", "blkio"), 4097, 8192);
    }

    [Fact]
    public void Version_2_is_read_from_its_one_folder()
    {
        Put("u/cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
        Put("u/memory.current", "10000000\n");
        Put("u/memory.max", "67108864\n");
        Put("u/memory.stat", "anon 5\ninactive_file 4000000\n");
        Put("u/pids.current", "3\n");
        Put("u/pids.max", "4096\n");
        Put("u/io.stat", "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2\n8:16 rbytes=1 wbytes=0\n");
        AssertFigures(Read("u"), 4097, 8192);
    }

    [Theory]
    [InlineData("memory.limit_in_bytes", "memory.usage_in_bytes", "9223372036854771712\n")]
    [InlineData("memory.max", "memory.current", "max\n")]
    public void No_limit_is_shown_as_none(string limit, string used, string text)
    {
        Put("m/" + limit, text);
        Put("m/" + used, "1\n");
        Assert.Equal(0, Read("m").MemoryLimitBytes);
    }

    [Fact]
    public void Traffic_is_that_of_every_interface_but_the_loopback()
    {
        var network = CgroupStatistics.ReadNetwork(
        [
            "Inter-|   Receive                                                |  Transmit",
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed",
            "    lo:     999       9    0    0    0     0          0         0      999       9    0    0    0     0       0          0",
            "  eth0:    1000      10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0",
        ]);
        Assert.Equal(new NetworkStats { ReceivedBytes = 1000, ReceivedPackets = 10, SentBytes = 2000, SentPackets = 20 }, network);
        Assert.Null(CgroupStatistics.ReadNetwork(["", "", "lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0"]));
    }

    private static void AssertFigures(InstanceStats stats, long read, long written)
    {
        Assert.Equal(TimeSpan.FromSeconds(1.5), stats.CpuTime.ToTimeSpan());
        Assert.Equal((6_000_000, 67_108_864, 3, 4096), (stats.MemoryBytes, stats.MemoryLimitBytes, stats.Pids, stats.PidsLimit));
        Assert.Equal(new BlockStats { ReadBytes = read, WrittenBytes = written }, stats.Block);
    }

    private InstanceStats Read(params string[] folders)
    {
        var stats = new InstanceStats();
        CgroupStatistics.Read(folders.Select(folder => _scratch[folder]), stats);
        return stats;
    }

    private void Put(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_scratch[path])!);
        File.WriteAllText(_scratch[path], text);
    }
}
