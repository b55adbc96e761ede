using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Agent.Guests.Seeds;
using Hypervisor.Agent.Networking;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>Config drives as files.</summary>
internal sealed class ConfigDrives(IRandomSource random) : IConfigDrives
{
    public void Write(string path, GuestConfig config) => ConfigDrive.Write(path, config, random);

    public NotedExit? ReadExit(string path, long run)
    {
        try
        {
            return ConfigDrive.ReadExit(path, run) is { } exit
                ? new NotedExit(exit.Code, exit.Signal, exit.OutOfMemory) { Reason = exit.Reason ?? "", Message = exit.Message }
                : null;
        }
        catch (FileNotFoundException)
        {
            // The agent died before it wrote the drive of a run that it had noted.
            return null;
        }
    }
}

/// <summary>The init's channel.</summary>
internal sealed class GuestContact(IVmm vmm, GuestChannels channels) : IGuestContact
{
    /// <summary>The address of the channel behind a socket, as <see cref="GuestChannels"/> takes it.</summary>
    public static async Task<string> AddressAsync(IVmm vmm, InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        await vmm.ChannelPortAsync(id, cancellationToken) is null ? channelSocket : GuestChannel.VsockPrefix + channelSocket;

    public async Task ReachAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        await channels.WaitAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), GuestLimits.Boot, cancellationToken);

    public async Task SignalAsync(InstanceId id, string channelSocket, int signal, CancellationToken cancellationToken) =>
        await channels.SignalAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), signal, cancellationToken);

    public async Task FreezeAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        await channels.FreezeAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), GuestLimits.Frozen, cancellationToken);

    public async Task RefreshAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        await channels.RefreshAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), cancellationToken);

    public async Task<bool> HoldsAsync(InstanceId id, string channelSocket, CancellationToken cancellationToken) =>
        await channels.StateAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), cancellationToken) == InitState.Held;

    public async Task BeginAsync(InstanceId id, string channelSocket, GuestConfig config, CancellationToken cancellationToken) =>
        await channels.BeginAsync(id, await AddressAsync(vmm, id, channelSocket, cancellationToken), config, cancellationToken);

    public void Forget(InstanceId id) => channels.Forget(id);
}

/// <summary>Disks of instances, and for guests that boot themselves the seed that tells them who they are.</summary>
internal sealed class GuestDisks(InstanceDisks disks, DiskSnapshots snapshots, SeedVolume seeds, GuestOptions options) : IGuestDisks
{
    private const string SeedName = "seed";

    public async Task<IReadOnlyList<GuestDisk>> EnsureAsync(
        string folder, InstanceDefinition definition, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        var spec = definition.Assignment.Spec;
        var made = await disks.EnsureAsync(folder, spec, image, abilities, cancellationToken);
        if (image is not { Process: null, Kernel: null })
        {
            return made;
        }

        var path = Path.Combine(folder, SeedName);
        var network = spec.Network ?? new NetworkSpec();
        var source = new SeedSource(
            definition.Assignment.Uid,
            AssignedHostname.Of(definition.Assignment),
            definition.Network is { Tap.Length: > 0 } connected
                ? new GuestAddress(connected.Address, connected.PrefixLength, connected.Gateway, connected.HardwareAddress, connected.Mtu)
                : null,
            [.. Resolvers.For(network.DnsServers, options.DnsServers).Select(server => server.ToString())],
            [.. network.DnsSearch]);
        await seeds.WriteAsync(path, SeedRenderer.Render(source, spec.CloudInit), cancellationToken);
        // No CD-ROM: kernels made for clouds (Debian's linux-image-cloud) have no driver for a drive, and all that boot here have one for this.
        return [.. made, new GuestDisk(SeedName, path, DiskFormat.Raw, ReadOnly: true)];
    }

    public void Remove(string folder) => InstanceDisks.Remove(folder);

    public IReadOnlyList<GuestDisk> Present(string folder, IReadOnlyList<GuestDisk> known)
    {
        var set = DiskFolder.Load(folder);
        return [.. known.Select(disk => set.Find(disk.Name) is { Made: true } made ? disk with { Path = DiskFolder.PathOf(folder, made.Active) } : disk)];
    }

    public async Task<long> SnapshotAsync(string folder, string snapshot, CancellationToken cancellationToken)
    {
        await snapshots.CreateAsync(folder, snapshot, cancellationToken);
        return DiskSnapshots.List(folder).GetValueOrDefault(snapshot);
    }

    public void DeleteSnapshot(string folder, string snapshot) => DiskSnapshots.Delete(folder, snapshot);

    public Task RestoreAsync(string folder, string snapshot, CancellationToken cancellationToken) =>
        snapshots.RestoreAsync(folder, snapshot, cancellationToken);

    public Task CloneAsync(string source, string snapshot, string folder, GuestImage image, CancellationToken cancellationToken)
    {
        if (DiskFolder.Load(source).Find(DiskPlan.Root)?.Origin is { } origin && origin.Digest != image.Digest)
        {
            throw new DriverException(
                "CloneImageChanged",
                $"the source's root disk was made of {origin.Digest}, and the image is {image.Digest} now; name the image by its digest to clone it",
                permanent: true);
        }

        return snapshots.CloneAsync(source, snapshot.Length > 0 ? snapshot : null, folder, cancellationToken);
    }
}

/// <summary>What the way into guests has to know of them.</summary>
internal sealed class GuestDirectory(IVmm vmm, GuestStore store) : IGuestDirectory
{
    public async Task<GuestView?> FindAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (store.Read(id.Value) is not { } record)
        {
            return null;
        }

        var machine = await vmm.GetAsync(id, cancellationToken);
        var run = store.RunFolderOf(id.Value);
        return new GuestView(
            record.Epoch,
            machine?.State ?? VmmState.Stopped,
            record.Config is null ? null : record.Config with { Run = record.Run },
            await GuestContact.AddressAsync(vmm, id, store.ChannelOf(id.Value), cancellationToken),
            Path.Combine(run, GuestMachine.ConsoleName),
            store.ConsoleLogOf(id.Value),
            GuestPlan.MemoryBytes(record.Assignment.Spec))
        {
            // What boots our kernel, or one of its own set, has nothing to show there.
            VncSocket = (vmm.Abilities & VmmAbilities.Vnc) != 0 && record is { Config: null, Kernel: null } ? Path.Combine(run, GuestMachine.VncName) : null,
        };
    }

    public Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken) => vmm.MeasureAsync(id, cancellationToken);
}

/// <summary>Disk images and kernel sets as what disks are made of.</summary>
internal sealed class StoredDiskImages(DiskImageStore store) : IDiskImages
{
    public async Task<GuestImage?> FindAsync(string digest, CancellationToken cancellationToken) =>
        await store.FindAsync(digest, cancellationToken) is { } image
            ? new GuestImage(image.Digest, image.Path, image.Format, image.VirtualSizeBytes, Process: null) { Kernel = image.Kernel }
            : null;
}

/// <summary>Keeps the disk images that disks lie over.</summary>
internal sealed class DiskHolder(HeldImages held) : IImageHolder
{
    public Task<IReadOnlySet<string>> HeldAsync(CancellationToken cancellationToken) => held.HeldAsync(cancellationToken);
}
