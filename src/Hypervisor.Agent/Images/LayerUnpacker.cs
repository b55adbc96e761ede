using Containerd.Services.Diff.V1;
using Containerd.Services.Snapshots.V1;
using Containerd.Types;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Images;

/// <summary>Makes committed snapshots, named by chain id, of an image's layers.</summary>
internal sealed class LayerUnpacker(ContainerdClient client, IRandomSource random)
{
    /// <exception cref="InvalidDataException">A layer does not have the content that the configuration promises.</exception>
    /// <exception cref="RpcException">containerd refused.</exception>
    public async Task UnpackAsync(ImageDescription image, string lease, CancellationToken cancellationToken)
    {
        var layers = image.Manifest.Layers!;
        var diffIds = image.Configuration.Rootfs!.DiffIds!;
        for (var index = 0; index < layers.Count; index++)
        {
            var parent = index == 0 ? "" : image.Chain[index - 1];
            if (!await ExistsAsync(image.Chain[index], lease, cancellationToken))
            {
                await UnpackAsync(layers[index], diffIds[index], parent, image.Chain[index], lease, cancellationToken);
            }
        }
    }

    private async Task UnpackAsync(
        ImageDescriptor layer, string diffId, string parent, string chainId, string lease, CancellationToken cancellationToken)
    {
        // A name of its own each time: what a killed agent left half-done is never taken for ours, and is collected with its lease.
        var key = "unpack-" + random.NewUid();
        var prepared = await client.Snapshots.PrepareAsync(
            new PrepareSnapshotRequest { Snapshotter = client.Snapshotter, Key = key, Parent = parent },
            client.Call(ContainerdLimits.Metadata, cancellationToken, lease));
        var committed = false;
        try
        {
            var apply = new ApplyRequest { Diff = new ContentDescriptor { MediaType = layer.MediaType, Digest = layer.Digest, Size = layer.Size } };
            apply.Mounts.Add(prepared.Mounts);
            var applied = await client.Diff.ApplyAsync(apply, client.Call(ContainerdLimits.Unpack, cancellationToken, lease));
            if (applied.Applied.Digest != diffId)
            {
                throw new InvalidDataException($"the layer {layer.Digest} unpacks to {applied.Applied.Digest}, not to {diffId}");
            }

            await client.Snapshots.CommitAsync(
                new CommitSnapshotRequest { Snapshotter = client.Snapshotter, Name = chainId, Key = key },
                client.Call(ContainerdLimits.Runtime, cancellationToken, lease));
            committed = true;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            // Another image with the same layers was unpacked meanwhile.
        }
        finally
        {
            if (!committed)
            {
                await client.Snapshots.RemoveAsync(
                    new RemoveSnapshotRequest { Snapshotter = client.Snapshotter, Key = key }, client.Call(CancellationToken.None));
            }
        }
    }

    private async Task<bool> ExistsAsync(string chainId, string lease, CancellationToken cancellationToken)
    {
        try
        {
            await client.Snapshots.StatAsync(
                new StatSnapshotRequest { Snapshotter = client.Snapshotter, Key = chainId },
                client.Call(ContainerdLimits.Metadata, cancellationToken, lease));
            return true;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            return false;
        }
    }
}
