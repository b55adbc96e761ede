using Containerd.Services.Diff.V1;
using Containerd.Services.Snapshots.V1;
using Containerd.Types;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Images;

/// <summary>Makes committed snapshots, named by chain id, of an image's layers.</summary>
internal sealed class LayerUnpacker(ContainerdClient client, TimeProvider time, IRandomSource random)
{
    /// <summary>Whether the layer is there, over the same ones.</summary>
    public Task<bool> IsUnpackedAsync(ImageDescription image, int index, string lease, CancellationToken cancellationToken) =>
        ExistsAsync(image.Chain[index], lease, cancellationToken);

    /// <summary>One layer, over those below it, which are there already.</summary>
    /// <param name="plain">The same layer decompressed, where it was.</param>
    /// <param name="allowance">What the image may unpack to; this layer is taken from it.</param>
    /// <exception cref="InvalidDataException">
    /// The layer does not have the content that the configuration promises, or more than its size or the image's lets expect.
    /// </exception>
    /// <exception cref="RpcException">containerd refused.</exception>
    public async Task UnpackAsync(
        ImageDescription image, int index, ImageDescriptor? plain, UnpackAllowance allowance, string lease, CancellationToken cancellationToken)
    {
        if (await ExistsAsync(image.Chain[index], lease, cancellationToken))
        {
            allowance.Take(await WrittenAsync(image.Chain[index], cancellationToken));
            return;
        }

        var parent = index == 0 ? "" : image.Chain[index - 1];
        await UnpackAsync(
            image.Manifest.Layers![index], plain, image.Configuration.Rootfs!.DiffIds![index], parent, image.Chain[index], allowance, lease,
            cancellationToken);
    }

    private async Task UnpackAsync(
        ImageDescriptor layer, ImageDescriptor? plain, string diffId, string parent, string chainId, UnpackAllowance allowance, string lease,
        CancellationToken cancellationToken)
    {
        // A name of its own each time: what a killed agent left half-done is never taken for ours, and is collected with its lease.
        var key = "unpack-" + random.NewUid();
        var prepared = await client.Snapshots.PrepareAsync(
            new PrepareSnapshotRequest { Snapshotter = client.Snapshotter, Key = key, Parent = parent },
            client.Call(ContainerdLimits.Metadata, cancellationToken, lease));
        var committed = false;
        try
        {
            var given = plain ?? layer;
            var apply = new ApplyRequest { Diff = new ContentDescriptor { MediaType = given.MediaType, Digest = given.Digest, Size = given.Size } };
            apply.Mounts.Add(prepared.Mounts);
            var applied = await ApplyAsync(apply, key, layer, allowance, lease, cancellationToken);
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

    /// <summary>
    /// A layer that unpacks to far more than real ones do is made to fill disks, and so are many that each do not. A layer's unpacked size is known at its end only, so
    /// what it has written is looked at while it is unpacked.
    /// </summary>
    private async Task<ApplyResponse> ApplyAsync(
        ApplyRequest apply, string key, ImageDescriptor layer, UnpackAllowance allowance, string lease, CancellationToken cancellationToken)
    {
        var limit = allowance.Of(layer);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var applying = client.Diff.ApplyAsync(apply, client.Call(ContainerdLimits.Unpack, ending.Token, lease)).ResponseAsync;
        using (var done = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            while (await Task.WhenAny(applying, Task.Delay(ContainerdLimits.BombLook, time, done.Token)) != applying)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (await WrittenAsync(key, cancellationToken) is var written && written > limit)
                {
                    await ending.CancelAsync();
                    await ((Task)applying).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
                    throw allowance.Excess(layer, written);
                }
            }

            await done.CancelAsync();
        }

        var response = await applying;
        if (response.Applied.Size > limit)
        {
            throw allowance.Excess(layer, response.Applied.Size);
        }

        allowance.Take(response.Applied.Size);
        return response;
    }

    private async Task<long> WrittenAsync(string key, CancellationToken cancellationToken) =>
        (await client.Snapshots.UsageAsync(new UsageRequest { Snapshotter = client.Snapshotter, Key = key }, client.Call(cancellationToken))).Size;

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
