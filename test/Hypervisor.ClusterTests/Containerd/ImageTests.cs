using Containerd.Services.Images.V1;
using Containerd.Services.Snapshots.V1;
using Hypervisor.Agent.Drivers;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: an image arrives once, whole, verified and safe from containerd's collector.</summary>
public sealed class ImageTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task Layers_of_every_compression_are_unpacked_and_kept()
    {
        // The collector runs when an image is deleted synchronously.
        await host.Client.Images.CreateAsync(
            new CreateImageRequest { Image = new() { Name = "other", Target = new() { Digest = host.Image.Digest, MediaType = "x", Size = 1 } } },
            host.Client.Call(Cancel));
        await host.Client.Images.DeleteAsync(new DeleteImageRequest { Name = "other", Sync = true }, host.Client.Call(Cancel));
        await host.Client.Snapshots.StatAsync(
            new StatSnapshotRequest { Snapshotter = "overlayfs", Key = host.Image.ChainId }, host.Client.Call(Cancel));
        host.ForgetEverything();
        Assert.Equal(host.Image.ChainId, (await host.Store.FindAsync(host.Image.Digest, Cancel))!.ChainId);
    }

    [Fact]
    public async Task One_download_serves_all_who_wait()
    {
        var image = BusyboxImage.Make("-many");
        host.ControlPlane.Add(image, "many");
        var digests = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => host.Images.EnsureAsync("default", "many", "", default, Cancel)));
        Assert.All(digests, digest => Assert.Equal(image.Digest, digest));
        Assert.Equal(1, host.ControlPlane.Requests.Count(request => request.Digest == image.Digest));
        host.ForgetEverything();
        await host.Images.EnsureAsync("default", "many", image.Digest, default, Cancel);
        Assert.Equal(1, host.ControlPlane.Requests.Count(request => request.Digest == image.Digest));
    }

    [Fact]
    public async Task An_interrupted_transfer_goes_on_where_it_stopped()
    {
        await using var own = new ContainerdHost();
        own.ControlPlane.Breaks.Enqueue(100_000);
        own.ControlPlane.Breaks.Enqueue(100_000);
        own.ControlPlane.Breaks.Enqueue(300_000);
        await own.InitializeAsync();
        Assert.Contains(own.ControlPlane.Requests, request => request.Offset > 0);
        Assert.NotNull(await own.Store.FindAsync(own.Image.Digest, Cancel));
    }

    [Fact]
    public async Task A_blob_with_other_content_than_promised_is_refused()
    {
        var image = BusyboxImage.Make("-bad");
        host.ControlPlane.Add(image, "bad");
        var layer = image.Blobs.Last(blob => !host.Image.Blobs.ContainsKey(blob.Key) && blob.Key != image.Digest).Key;
        host.ControlPlane.Blobs[layer] = [.. image.Blobs[layer].Select(value => (byte)(value ^ 1))];
        var error = await Assert.ThrowsAsync<DriverException>(() => host.Images.EnsureAsync("default", "bad", "", default, Cancel));
        Assert.Equal(("ImageInvalid", true), (error.Reason, error.Permanent));
    }

    [Fact]
    public async Task An_unknown_image_is_named()
    {
        var error = await Assert.ThrowsAsync<DriverException>(() => host.Images.EnsureAsync("default", "nothing", "", default, Cancel));
        Assert.Equal(("ImageNotFound", true), (error.Reason, error.Permanent));
        Assert.Contains("nothing", error.Message, StringComparison.Ordinal);
    }
}
