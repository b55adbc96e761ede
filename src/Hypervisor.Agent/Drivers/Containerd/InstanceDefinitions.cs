using System.Globalization;
using Containerd.Services.Containers.V1;
using Containerd.Services.Snapshots.V1;
using Containerd.Types;
using Containerd.Types.Runc;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Seccomp;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using DiskKind = Hypervisor.Protocol.V1.DiskKind;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>The resting side of containers: record, writable snapshot and files. The caller holds the instance's lock.</summary>
internal sealed class InstanceDefinitions(
    ContainerdClient client,
    ContainerdOptions options,
    ImageStore images,
    InstanceUsers users,
    SeccompProfiles seccomp,
    InstanceFiles files,
    ContainerTasks tasks,
    Cgroups cgroups,
    ShimGroups groups)
{
    private const string RuntimeName = "io.containerd.runc.v2";
    private const string DefaultRuncRoot = "/run/containerd/runc";

    private readonly CgroupSupport _cgroupSupport = CgroupSupport.Probe();
    private readonly ulong _openFiles = ProcessLimits.OpenFiles();
    private readonly Lock _lock = new();

    /// <summary>What was just created, so that the start that follows asks containerd for nothing it has just said.</summary>
    private readonly Dictionary<string, (Epoch Epoch, StartInput Start)> _prepared = new(StringComparer.Ordinal);

    public static DriverException Stale(Epoch epoch, InstanceRecord record) => new(
        "StaleEpoch", $"the call is of epoch {epoch}, the container of epoch {record.Epoch}", permanent: true);

    public async Task<Container?> FindContainerAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            return (await client.Containers.GetAsync(new GetContainerRequest { Id = id }, client.Call(cancellationToken))).Container;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            return null;
        }
    }

    public async Task<InstanceRecord?> FindAsync(string id, CancellationToken cancellationToken) =>
        await FindContainerAsync(id, cancellationToken) is { } container ? InstanceRecord.Read(container) : null;

    public async Task<bool> HasSnapshotAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await client.Snapshots.StatAsync(
                new StatSnapshotRequest { Snapshotter = client.Snapshotter, Key = id }, client.Call(cancellationToken));
            return true;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            return false;
        }
    }

    /// <summary>What <see cref="PutAsync"/> made in this very run of the agent, once.</summary>
    public StartInput? TakePrepared(string id, Epoch epoch)
    {
        lock (_lock)
        {
            return _prepared.Remove(id, out var prepared) && prepared.Epoch == epoch ? prepared.Start : null;
        }
    }

    public async Task<IReadOnlyList<Mount>> MountsAsync(string id, CancellationToken cancellationToken) =>
        (await client.Snapshots.MountsAsync(
            new MountsRequest { Snapshotter = client.Snapshotter, Key = id }, client.Call(cancellationToken))).Mounts;

    /// <summary>See <see cref="IInstanceDriver.CreateAsync"/>.</summary>
    public async Task PutAsync(InstanceDefinition definition, CancellationToken cancellationToken)
    {
        var id = definition.Id.Value;
        lock (_lock)
        {
            _prepared.Remove(id);
        }

        var image = await images.FindAsync(definition.ImageDigest, cancellationToken)
            ?? throw new DriverException("ImageNotFound", $"the image {definition.ImageDigest} is not on the node", permanent: false);
        var container = await RenderAsync(definition, image, cancellationToken);

        // Both at once; neither needs the other. The snapshot is no half-measure of a refused call: where a container of this name
        // is, its snapshot is too, and preparing it again changes nothing.
        var prepare = PrepareAsync(id, image.ChainId, cancellationToken);
        try
        {
            await client.Containers.CreateAsync(new CreateContainerRequest { Container = container }, client.Call(cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            await Settled(prepare);
            await ReplaceAsync(definition, container, image, cancellationToken);
            return;
        }
        catch
        {
            await Settled(prepare);
            throw;
        }

        IReadOnlyList<Mount>? mounts;
        try
        {
            mounts = await prepare;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            images.Forget(definition.ImageDigest);
            throw new DriverException("ImageNotFound", $"the image {definition.ImageDigest} is no longer unpacked on the node", permanent: false, error);
        }

        files.Write(definition.Assignment, definition.Network);
        if (mounts is not null)
        {
            lock (_lock)
            {
                _prepared[id] = (definition.Epoch, StartInput.Of(InstanceRecord.Of(definition), mounts));
            }
        }
    }

    public async Task NoteExitAsync(InstanceRecord record, CancellationToken cancellationToken)
    {
        var update = new UpdateContainerRequest
        {
            Container = new Container { Id = record.Id },
            UpdateMask = new FieldMask { Paths = { "labels." + InstanceRecord.ExitLabel } },
        };
        // An empty value removes the label.
        update.Container.Labels[InstanceRecord.ExitLabel] = record.Exit?.ToString() ?? "";
        await client.Containers.UpdateAsync(update, client.Call(cancellationToken));
    }

    /// <summary>A run begins after one that ended: its exit is forgotten and counted, in one step.</summary>
    public async Task NoteRestartAsync(string id, RestartCount restarts, CancellationToken cancellationToken)
    {
        var update = new UpdateContainerRequest
        {
            Container = new Container { Id = id },
            UpdateMask = new FieldMask
            {
                Paths = { "labels." + InstanceRecord.ExitLabel, "labels." + InstanceRecord.RestartsLabel, "labels." + InstanceRecord.StreakLabel },
            },
        };
        update.Container.Labels[InstanceRecord.ExitLabel] = "";
        update.Container.Labels[InstanceRecord.RestartsLabel] = restarts.Total.ToString(CultureInfo.InvariantCulture);
        update.Container.Labels[InstanceRecord.StreakLabel] = restarts.Streak.ToString(CultureInfo.InvariantCulture);
        await client.Containers.UpdateAsync(update, client.Call(cancellationToken));
    }

    /// <summary>What is in force from now on, for whoever asks after a restart of the agent.</summary>
    public async Task NoteLimitsAsync(Container container, InstanceLimits limits, CancellationToken cancellationToken)
    {
        var update = new UpdateContainerRequest { Container = new Container { Id = container.Id }, UpdateMask = new FieldMask() };
        if (InstanceRecord.MadeFrom(container) is { Spec: not null } assignment)
        {
            // Who adopts it takes over what is in force.
            limits.ApplyTo(assignment.Spec);
            update.Container.Extensions[InstanceRecord.AssignmentExtension] = InstanceRecord.Pack(assignment);
            update.UpdateMask.Paths.Add("extensions." + InstanceRecord.AssignmentExtension);
        }

        var noted = new Dictionary<string, string>(StringComparer.Ordinal);
        (InstanceRecord.Read(container) with { CpuMillicores = limits.CpuMillicores, Limits = limits }).WriteTo(noted);
        foreach (var label in new[] { InstanceRecord.CpuLabel, InstanceRecord.MemoryLabel, InstanceRecord.PidsLabel })
        {
            update.Container.Labels[label] = noted[label];
            update.UpdateMask.Paths.Add("labels." + label);
        }

        await client.Containers.UpdateAsync(update, client.Call(cancellationToken));
    }

    /// <summary>The label alone: the process and everything that it was made from stay what they are.</summary>
    public async Task NoteEpochAsync(string id, Epoch epoch, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _prepared.Remove(id);
        }

        var update = new UpdateContainerRequest
        {
            Container = new Container { Id = id },
            UpdateMask = new FieldMask { Paths = { "labels." + InstanceRecord.EpochLabel } },
        };
        update.Container.Labels[InstanceRecord.EpochLabel] = InstanceRecord.Text(epoch);
        await client.Containers.UpdateAsync(update, client.Call(cancellationToken));
    }

    public async Task RemoveAsync(string id, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _prepared.Remove(id);
        }

        // The snapshot first: its record would be all that still tells of it.
        await RemoveSnapshotAsync(id, cancellationToken);
        try
        {
            await client.Containers.DeleteAsync(new DeleteContainerRequest { Id = id }, client.Call(cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            // Removed by an earlier call that did not finish.
        }

        files.Remove(id);
    }

    private static async Task Settled(Task task)
    {
        try
        {
            await task;
        }
        catch (RpcException)
        {
            // The other call's error is the one to report, and what this one was to make is asked for again.
        }
    }

    private static bool KeepsRoot(InstanceSpec spec) =>
        spec.Disks.FirstOrDefault(disk => disk.Name == "root")?.Kind == DiskKind.Local;

    /// <summary>There is a container of that name already: of another epoch, or to be brought up to date.</summary>
    private async Task ReplaceAsync(InstanceDefinition definition, Container container, UnpackedImage image, CancellationToken cancellationToken)
    {
        var id = definition.Id.Value;
        var present = await FindAsync(id, cancellationToken)
            ?? throw new DriverException("Conflict", $"the container {id} appeared and vanished; try again", permanent: false);
        if (definition.Epoch < present.Epoch)
        {
            throw Stale(definition.Epoch, present);
        }

        var task = await tasks.FindAsync(id, cancellationToken);
        if (definition.Epoch == present.Epoch && ContainerTasks.IsAlive(task))
        {
            return;
        }

        if (definition.Epoch > present.Epoch)
        {
            // The old stay on this node is over; what was ephemeral in it goes with it.
            await tasks.EndAsync(id, task, cancellationToken);
            files.Remove(id);
        }

        var renewed = definition.Epoch > present.Epoch || definition.ImageDigest != present.ImageDigest;
        if (renewed && !KeepsRoot(definition.Assignment.Spec))
        {
            await RemoveSnapshotAsync(id, cancellationToken);
        }

        await PrepareAsync(id, image.ChainId, cancellationToken);
        if (definition.Epoch == present.Epoch
            && definition.Assignment.Spec.RestartGeneration <= present.RestartGeneration
            && present.Exit is { } exit)
        {
            // Only of the same run: under a higher restart generation an old exit would pass for that of the run that is to come,
            // and an agent that dies before the start would never start it.
            (InstanceRecord.Of(definition) with { Exit = exit, Restarts = present.Restarts }).WriteTo(container.Labels);
        }

        await client.Containers.UpdateAsync(
            new UpdateContainerRequest
            {
                Container = container,
                UpdateMask = new FieldMask { Paths = { "labels", "spec", "extensions", "image", "snapshotkey" } },
            },
            client.Call(cancellationToken));
        files.Write(definition.Assignment, definition.Network);
    }

    private async Task<Container> RenderAsync(InstanceDefinition definition, UnpackedImage image, CancellationToken cancellationToken)
    {
        var assignment = definition.Assignment;
        var security = assignment.Spec.Security ?? new SecuritySpec();
        if (assignment.Spec.Disks.FirstOrDefault(disk => disk.Name != "root") is { } disk)
        {
            throw new DriverException("DiskUnsupported", $"spec.disks: containers have a root disk only, not \"{disk.Name}\"", permanent: true);
        }

        var capabilities = Capabilities.Resolve(security.CapabilitiesAdd, security.CapabilitiesDrop);
        var user = assignment.Spec.Process is { User.Length: > 0 } process ? process.User : image.Defaults.User;
        var spec = SpecRenderer.Render(new SpecInput(
            assignment,
            image.Defaults,
            await users.ResolveAsync(image, user, cancellationToken),
            capabilities,
            security.Seccomp == SeccompMode.Unconfined ? null : seccomp.For(capabilities),
            definition.Network?.NamespacePath,
            files.DirectoryOf(assignment.Uid),
            cgroups.PathOf(assignment.Uid),
            _cgroupSupport,
            options.ShimGroup ? groups.Join(assignment.Uid, assignment.Project) : null,
            _openFiles));
        var container = new Container
        {
            Id = assignment.Uid,
            Image = ImageStore.NameOf(definition.ImageDigest),
            Runtime = new Container.Types.Runtime { Name = RuntimeName },
            Spec = new Any { TypeUrl = RuntimeSpec.TypeUrl, Value = UnsafeByteOperations.UnsafeWrap(spec.ToJson()) },
            Snapshotter = client.Snapshotter,
            SnapshotKey = assignment.Uid,
        };
        if (options.RuncRoot != DefaultRuncRoot)
        {
            container.Runtime.Options = new Any { TypeUrl = Options.Descriptor.FullName, Value = new Options { Root = options.RuncRoot }.ToByteString() };
        }

        (InstanceRecord.Of(definition) with { StopSignal = SignalNames.Parse(image.Defaults.StopSignal) ?? 0 }).WriteTo(container.Labels);
        container.Extensions[InstanceRecord.AssignmentExtension] = InstanceRecord.Pack(assignment);
        return container;
    }

    /// <returns>Null when it was there already.</returns>
    private async Task<IReadOnlyList<Mount>?> PrepareAsync(string id, string chainId, CancellationToken cancellationToken)
    {
        // The label keeps the collector away whatever becomes of the record: a disk is removed by name or not at all.
        var request = new PrepareSnapshotRequest { Snapshotter = client.Snapshotter, Key = id, Parent = chainId };
        request.Labels[InstanceRecord.UidLabel] = id;
        request.Labels[InstanceRecord.GcRootLabel] = "true";
        try
        {
            return (await client.Snapshots.PrepareAsync(request, client.Call(cancellationToken))).Mounts;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            return null;
        }
    }

    private async Task RemoveSnapshotAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await client.Snapshots.RemoveAsync(
                new RemoveSnapshotRequest { Snapshotter = client.Snapshotter, Key = id }, client.Call(cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            // Removed by an earlier call that did not finish.
        }
    }
}
