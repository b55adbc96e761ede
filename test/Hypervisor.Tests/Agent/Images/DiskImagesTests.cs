using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.Tests.Agent.Guests.Images;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Images;

/// <summary>Protects: a node whose containerd is away brings disk images all the same, and makes room for them without touching what is held.</summary>
public sealed class DiskImagesTests : IDisposable, IImageHolder
{
    private readonly ScratchFolder _folder = new();
    private readonly DiskBlobs _blobs = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch.AddYears(57));
    private readonly HashSet<string> _held = [];
    private ServiceProvider? _services;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private IImageProvider Provider => Services.GetRequiredService<IImageProvider>();

    private DiskImageStore Store => Services.GetRequiredService<DiskImageStore>();

    private ServiceProvider Services => _services ??= new ServiceCollection()
        .AddLogging()
        .AddSingleton<TimeProvider>(_time)
        .AddSingleton<IRandomSource, SystemRandomSource>()
        .AddSingleton<IControlPlane>(_blobs)
        .AddSingleton<IHostApplicationLifetime, ApplicationLifetime>()
        .AddSingleton<IImageHolder>(this)
        .AddContainerd(new ContainerdOptions
        {
            SocketPath = _folder["none.sock"],
            RunDirectory = _folder["run"],
            StateDirectory = _folder["state"],
            LogDirectory = _folder["logs"],
        })
        .AddDiskImages(_folder.Path)
        .AddImages(10_000)
        .BuildServiceProvider();

    public void Dispose()
    {
        _services?.Dispose();
        _folder.Dispose();
    }

    public Task<IReadOnlySet<string>> HeldAsync(CancellationToken cancellationToken) => Task.FromResult<IReadOnlySet<string>>(_held);

    [Fact]
    public async Task A_disk_image_needs_no_containerd()
    {
        var digest = Add("disk:1", 1);

        Assert.Equal(digest, await Provider.EnsureAsync("default", "disk:1", "", ImagePullPolicy.IfNotPresent, Cancel));
        Assert.NotNull(await Store.FindAsync(digest, Cancel));
        var asked = _blobs.Fetches.Count;
        Assert.Equal(digest, await Provider.EnsureAsync("default", "disk:1", digest, ImagePullPolicy.IfNotPresent, Cancel));
        Assert.Equal(asked, _blobs.Fetches.Count);
    }

    [Fact]
    public async Task An_oci_image_still_says_that_containerd_is_away()
    {
        _blobs.Names["box:1"] = new ResolveImageResponse { Digest = "sha256:" + new string('a', 64), Stored = true, Format = ImageFormat.Oci };

        var refusal = await Assert.ThrowsAsync<DriverException>(() => Provider.EnsureAsync("default", "box:1", "", ImagePullPolicy.IfNotPresent, Cancel));
        Assert.Equal("RuntimeUnavailable", refusal.Reason);
    }

    [Fact]
    public async Task The_longest_unused_that_nothing_holds_makes_room()
    {
        List<string> digests = [];
        for (var number = 0; number < 4; number++)
        {
            digests.Add(Add($"disk:{number}", number));
            await Provider.EnsureAsync("default", $"disk:{number}", "", ImagePullPolicy.IfNotPresent, Cancel);
            _time.Advance(TimeSpan.FromMinutes(1));
        }

        var cache = Services.GetRequiredService<ImageCache>();
        Assert.Empty(await cache.CollectAsync(Cancel));
        _time.Advance(TimeSpan.FromHours(1));
        _held.Add(digests[0]);

        Assert.Equal([digests[1], digests[2]], await cache.CollectAsync(Cancel));
        Assert.NotNull(await Store.FindAsync(digests[0], Cancel));
        Assert.Null(await Store.FindAsync(digests[1], Cancel));
        Assert.NotNull(await Store.FindAsync(digests[3], Cancel));
    }

    /// <summary>Of 4,096 bytes and two documents.</summary>
    private string Add(string name, int seed)
    {
        var content = new byte[4096];
        new Random(seed).NextBytes(content);
        var (digest, _) = _blobs.AddDisk("raw", content);
        _blobs.Names[name] = new ResolveImageResponse { Digest = digest, Stored = true, Format = ImageFormat.Raw };
        return digest;
    }
}
