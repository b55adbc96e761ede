using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Guests.Seeds;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests.Seeds;

/// <summary>Protects: what cloud-init reads from the volume is the seed, byte for byte, and the same seed makes the same volume.</summary>
public sealed class SeedVolumeTests : IDisposable
{
    private readonly string _scratch = Directory.CreateTempSubdirectory("seed-").FullName;

    public void Dispose() => Directory.Delete(_scratch, recursive: true);

    [Fact(Timeout = 60_000)]
    public async Task A_seed_is_a_volume_of_three_files()
    {
        var cancel = TestContext.Current.CancellationToken;
        var seed = new Seed("{\"instance-id\":\"u1\"}\n", "#cloud-config\n{}\n", "{\"version\":2}\n");
        var volumes = new SeedVolume(new DiskTool(RealTime.Clock));
        var path = Path.Combine(_scratch, "seed.iso");
        await volumes.WriteAsync(path, seed, cancel);
        var first = await File.ReadAllBytesAsync(path, cancel);
        await volumes.WriteAsync(path, seed, cancel);

        Assert.Equal(first, await File.ReadAllBytesAsync(path, cancel));
        Assert.Equal([path], Directory.GetFileSystemEntries(_scratch));
        Assert.Equal("cidata\n", await Shell.RunAsync("blkid", "-p", "-s", "LABEL", "-o", "value", path));
        // This machine's kernel may not know the file system; guests' kernels do.
        var read = Path.Combine(_scratch, "read");
        await Shell.RunAsync("xorriso", "-no_rc", "-indev", path, "-osirrox", "on", "-extract", "/", read);
        Assert.Equal(["meta-data", "network-config", "user-data"], Directory.GetFiles(read).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(seed.UserData, await File.ReadAllTextAsync(Path.Combine(read, "user-data"), cancel));
        Assert.Equal(seed.MetaData, await File.ReadAllTextAsync(Path.Combine(read, "meta-data"), cancel));
        Assert.Equal(seed.NetworkConfig, await File.ReadAllTextAsync(Path.Combine(read, "network-config"), cancel));
    }
}
