using Containerd.Services.Snapshots.V1;
using Containerd.Types;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Images;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Who the processes of an image are, by the accounts in the image itself; remembered per image and user.</summary>
internal sealed class InstanceUsers(ContainerdClient client, ContainerdOptions options, TimeProvider time, IRandomSource random)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(string ChainId, string User), ProcessIdentity> _known = [];

    /// <summary>Swept, before the first use, of mounts that a killed agent left.</summary>
    private readonly Lazy<string> _mounts = new(() =>
    {
        var directory = Path.Combine(options.RunDirectory, "mounts");
        ScratchMount.Sweep(directory);
        return directory;
    });

    /// <exception cref="DriverException">UserNotFound.</exception>
    public async Task<ProcessIdentity> ResolveAsync(UnpackedImage image, string user, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_known.TryGetValue((image.ChainId, user), out var known))
            {
                return known;
            }
        }

        var (passwd, group) = await ReadAccountsAsync(image.ChainId, cancellationToken);
        var identity = AccountFiles.Resolve(user, passwd, group);
        lock (_lock)
        {
            if (_known.Count >= ContainerdLimits.CachedImages)
            {
                _known.Clear();
            }

            _known[(image.ChainId, user)] = identity;
        }

        return identity;
    }

    private async Task<(string? Passwd, string? Group)> ReadAccountsAsync(string chainId, CancellationToken cancellationToken)
    {
        // Nothing refers to the view: without a lease the collector takes it at any moment.
        var key = "look-" + random.NewUid();
        await using var lease = await ContainerdLease.OpenAsync(client, random.NewUid(), time.GetUtcNow(), cancellationToken);
        IReadOnlyList<Mount> mounts;
        try
        {
            var view = await client.Snapshots.ViewAsync(
                new ViewSnapshotRequest { Snapshotter = client.Snapshotter, Key = key, Parent = chainId },
                client.Call(ContainerdLimits.Metadata, cancellationToken, lease.Id));
            mounts = view.Mounts;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            throw new DriverException("ImageNotFound", "the image is no longer unpacked on the node", permanent: false, error);
        }

        try
        {
            using var mount = ScratchMount.Open(mounts, Path.Combine(_mounts.Value, key));
            return (mount.ReadText("etc/passwd"), mount.ReadText("etc/group"));
        }
        finally
        {
            // Not cancelled with the caller: the view would stay until its lease expires.
            await client.Snapshots.RemoveAsync(
                new RemoveSnapshotRequest { Snapshotter = client.Snapshotter, Key = key }, client.Call(CancellationToken.None));
        }
    }
}
