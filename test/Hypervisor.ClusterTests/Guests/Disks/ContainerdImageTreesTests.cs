using System.Globalization;
using Containerd.Types;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.ClusterTests.Containerd;
using Hypervisor.Hosting.Randomness;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.ClusterTests.Guests.Disks;

/// <summary>Protects: an image that containerd unpacked becomes a root file system, and neither mount, view nor lease is left (NoOrphans).</summary>
public sealed class ContainerdImageTreesTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task An_image_in_containerd_becomes_a_root_file_system()
    {
        var images = Images(out var trees);

        var image = await images.OpenAsync(host.Image.Digest, Cancel);

        Assert.Equal((DiskFormat.Raw, "/work"), (image.Format, image.Process!.WorkingDirectory));
        Assert.NotEqual("", image.Build);
        var listing = await Shell.RunAsync("debugfs", "-R", "cat /work/marker", image.Path);
        Assert.Equal("here", listing);
        Assert.Contains("\"/etc/accounts\"", await Shell.RunAsync("debugfs", "-R", "stat /etc/passwd", image.Path), StringComparison.Ordinal);
        Assert.DoesNotContain(host.Mounts(), mount => mount.StartsWith(trees, StringComparison.Ordinal));
        Assert.Empty(await host.LeasesAsync());
        var again = await images.OpenAsync(host.Image.Digest, Cancel);
        Assert.Equal(image.Build, again.Build);
    }

    [Fact(Timeout = 60_000)]
    public void As_many_layers_as_an_image_may_have_are_mounted_however_long_their_paths_are()
    {
        var folder = Path.Combine(host.Root, new string('l', 60));
        List<string> layers = [];
        for (var layer = 0; layer < ContainerdLimits.Layers; layer++)
        {
            layers.Add(Path.Combine(folder, layer.ToString(CultureInfo.InvariantCulture), "fs"));
            Directory.CreateDirectory(layers[layer]);
            File.WriteAllText(Path.Combine(layers[layer], "top"), $"layer {layer}");
        }

        using var mount = ScratchMount.Open(
            [new Mount { Type = "overlay", Source = "overlay", Options = { "index=off", "lowerdir=" + string.Join(':', layers) } }],
            Path.Combine(host.Run, "many"));

        Assert.Equal("layer 0", mount.ReadText("top"));
    }

    [Fact(Timeout = 60_000)]
    public async Task An_image_that_is_not_there_is_said_not_to_be()
    {
        var missing = await Assert.ThrowsAsync<DriverException>(() => Images(out _).OpenAsync("sha256:" + new string('0', 64), Cancel));

        Assert.Equal("ImageNotFound", missing.Reason);
    }

    private GuestImages Images(out string mounts)
    {
        mounts = Path.Combine(host.Run, "rootfs");
        var random = new SystemRandomSource();
        var files = new RootFileSystems(
            Path.Combine(host.Root, "rootfs"),
            new ContainerdImageTrees(host.Client, host.Store, mounts, RealTime.Clock, random),
            new RootFileSystemBuilder(new DiskTool(RealTime.Clock), RealTime.Clock),
            limit: 0,
            _ => Task.FromResult<IReadOnlySet<string>>(new HashSet<string>()),
            RealTime.Clock,
            random,
            NullLogger<RootFileSystems>.Instance);
        return new GuestImages(files, new NoDiskImages());
    }

    private sealed class NoDiskImages : IDiskImages
    {
        public Task<GuestImage?> FindAsync(string digest, CancellationToken cancellationToken) => Task.FromResult<GuestImage?>(null);
    }
}
