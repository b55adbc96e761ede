using Containerd.Services.Snapshots.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Images;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Images as containerd unpacked them, mounted read-only: no device, set-user-id bit or program of theirs works there.</summary>
/// <param name="mounts">A folder of these mounts alone, which does not survive a reboot.</param>
internal sealed class ContainerdImageTrees(ContainerdClient client, ImageStore store, string mounts, TimeProvider time, IRandomSource random) : IImageTrees
{
    /// <summary>Swept, before the first use, of mounts that a killed agent left.</summary>
    private readonly Lazy<string> _mounts = new(() =>
    {
        ScratchMount.Sweep(mounts);
        return mounts;
    });

    public async Task<IImageTree> OpenAsync(string digest, CancellationToken cancellationToken)
    {
        var image = await store.FindAsync(digest, cancellationToken)
            ?? throw new DriverException("ImageNotFound", $"the image {digest} is not on the node", permanent: false);
        try
        {
            // Nothing refers to the view: without a lease the collector takes it at any moment. It is named after what it is for, so that
            // the lease of an agent that was killed meanwhile is found.
            var lease = await ContainerdLease.OpenAsync(client, random.NewUid(), time.GetUtcNow(), cancellationToken, image: "rootfs " + digest, collect: true);
            try
            {
                await lease.DeleteOlderAsync("rootfs " + digest, cancellationToken);
                return await ViewAsync(image, lease, cancellationToken);
            }
            catch
            {
                await lease.DisposeAsync();
                throw;
            }
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            store.Forget(digest);
            throw new DriverException("ImageNotFound", "the image is no longer unpacked on the node", permanent: false, error);
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw RuntimeErrors.Translate(error, client.SocketPath);
        }
        catch (IOException error)
        {
            throw new DriverException(RootFileSystemBuilder.Failed, $"the image's files cannot be mounted: {error.Message}", permanent: false, error);
        }
    }

    private async Task<Tree> ViewAsync(UnpackedImage image, ContainerdLease lease, CancellationToken cancellationToken)
    {
        long bytes = 0, inodes = 0;
        for (var key = image.ChainId; key.Length > 0;)
        {
            var usage = await client.Snapshots.UsageAsync(new UsageRequest { Snapshotter = client.Snapshotter, Key = key }, client.Call(cancellationToken));
            (bytes, inodes) = (bytes + usage.Size, inodes + usage.Inodes);
            key = (await client.Snapshots.StatAsync(new StatSnapshotRequest { Snapshotter = client.Snapshotter, Key = key }, client.Call(cancellationToken))).Info.Parent;
        }

        var view = "rootfs-" + random.NewUid();
        var mounts = await client.Snapshots.ViewAsync(
            new ViewSnapshotRequest { Snapshotter = client.Snapshotter, Key = view, Parent = image.ChainId },
            client.Call(ContainerdLimits.Metadata, cancellationToken, lease.Id));
        var path = Path.Combine(_mounts.Value, view);
        return new Tree(ScratchMount.Open(mounts.Mounts, path), lease, path, bytes, inodes, image.Defaults);
    }

    private sealed class Tree(ScratchMount mount, ContainerdLease lease, string path, long bytes, long inodes, ImageDefaults defaults) : IImageTree
    {
        public string Path => path;

        public long Bytes => bytes;

        public long Inodes => inodes;

        public ImageDefaults Defaults => defaults;

        public async ValueTask DisposeAsync()
        {
            mount.Dispose();
            // The view goes with the lease.
            await lease.DisposeAsync();
        }
    }
}
