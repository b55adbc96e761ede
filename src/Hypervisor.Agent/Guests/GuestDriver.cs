using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Logs;
using Hypervisor.Agent.Networking;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>VMs and microVMs: everything about them but what runs them, which is an <see cref="IVmm"/>.</summary>
/// <remarks>
/// A guest is a folder with a <see cref="GuestRecord"/>, its disks and, while it runs, a machine of the VMM; all are named by the
/// instance's uid. The record says what was wanted and how runs ended, the VMM says what runs.
/// </remarks>
internal sealed partial class GuestDriver(
    IVmm vmm,
    GuestOptions options,
    GuestStore store,
    GuestRuns runs,
    GuestSnapshots snapshots,
    IGuestImages images,
    IGuestDisks disks,
    IAccelerators accelerators,
    LogStore logs,
    IInstanceAccess? access) : IInstanceDriver
{
    private readonly KeyedLock _locks = new();

    public InstanceType Type => vmm.Type;

    public string Name => vmm.Name;

    public ConnectionKind Connection => ConnectionKind.Tap;

    public IInstanceAccess? Access => access;

    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        var info = await vmm.ProbeAsync(cancellationToken);
        var why = (info.Available, options.Boot.Missing, accelerators.Known) switch
        {
            (false, _, _) => null,
            (_, { } missing, _) when Type != InstanceType.Vm => missing,
            (_, _, null) => "it is still being found out what runs guests here",
            (_, _, { Accelerator: Accelerator.None } none) => none.Message,
            _ => null,
        };
        if (why is not null)
        {
            (info.Available, info.Message) = (false, why);
        }

        return info;
    }

    public async Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken)
    {
        var machines = (await vmm.ListAsync(cancellationToken)).ToDictionary(machine => machine.Id.Value, StringComparer.Ordinal);
        var ids = machines.Keys.Concat(store.List()).Concat(logs.List()).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal);
        var instances = new List<DriverInstance>();
        foreach (var id in ids)
        {
            var machine = machines.GetValueOrDefault(id);
            var record = store.Read(id);
            if (record is not null && NeedsLook(record, machine) && _locks.TryEnter(id) is { } holder)
            {
                using (holder)
                {
                    // Seen before it was locked: it may have been started or removed since.
                    if (await LookAsync(id, cancellationToken) is { } settled)
                    {
                        instances.Add(settled);
                    }
                }
            }
            else
            {
                instances.Add(Describe(id, record, machine));
            }
        }

        return instances;
    }

    public async Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken)
    {
        using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
        return await LookAsync(id.Value, cancellationToken);
    }

    public Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken) => GuardAsync(definition.Id, async () =>
    {
        var uid = definition.Id.Value;
        var present = store.Read(uid);
        Refuse(definition.Epoch, present);
        var machine = await vmm.GetAsync(definition.Id, cancellationToken);
        if (present is not null && present.Epoch == definition.Epoch && IsAlive(machine))
        {
            return;
        }

        if (present is null || present.Epoch < definition.Epoch)
        {
            // The old stay on this node is over.
            await EndAsync(definition.Id, cancellationToken);
        }
        else
        {
            present = runs.Settle(present, machine);
        }

        if (present is { Suspended: true, Made: true } && GuestPlan.IsSameRun(definition, present))
        {
            // It goes on as it was: a name that means another image by now matters to the next run only.
            definition = definition with { ImageDigest = present.ImageDigest };
        }

        var image = await images.OpenAsync(definition.ImageDigest, cancellationToken);
        var record = GuestPlan.Record(definition, image, present, vmm.Abilities, options);
        var keeps = GuestPlan.KeepsDisks(definition.Assignment);
        var isNew = present is not { Made: true } || present.Epoch < definition.Epoch || present.ImageDigest != definition.ImageDigest;
        if (present is { Suspended: true } && record.StartedAt is not null && (!isNew || keeps))
        {
            record = GuestPlan.KeepMachine(record, present);
        }

        var fresh = isNew && !keeps;
        if (fresh)
        {
            record = snapshots.Lose(record, "the disks that it was of were made anew");
        }
        else if (!isNew)
        {
            // They are all there already: an agent that dies here must not take them for half-made ones.
            record = record with { Made = true, Disks = present!.Disks };
        }

        store.Write(record);
        if (!record.Suspended)
        {
            store.RemoveState(uid);
        }

        if (fresh)
        {
            disks.Remove(store.FolderOf(uid));
        }

        if (definition.Assignment.Spec.Source is { } source && (fresh || present is not { Made: true }))
        {
            await CopyAsync(source, uid, image, cancellationToken);
        }

        var made = await disks.EnsureAsync(store.FolderOf(uid), definition, image, vmm.Abilities, cancellationToken);
        store.Write(record with { Made = true, Disks = WithConfig(record, made) });
    }, cancellationToken);

    public Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        var record = Found(id, epoch);
        if (!record.Made)
        {
            throw NotCreated(id);
        }

        var machine = await vmm.GetAsync(id, cancellationToken);
        if (!IsAlive(machine))
        {
            await runs.StartAsync(runs.Settle(record, machine), cancellationToken);
        }
        else if (record.Suspended)
        {
            // The agent died between the machine's start and the note of it.
            runs.NoteResumed(record);
        }
        else if (record.Held)
        {
            await runs.ResolveHeldAsync(record, machine!, cancellationToken);
        }
    }, cancellationToken);

    public Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        var record = store.Read(id.Value);
        Refuse(epoch, record);
        var machine = await vmm.GetAsync(id, cancellationToken);
        if (record is not null)
        {
            await runs.StopAsync(record, machine, policy, cancellationToken);
        }
        else if (IsAlive(machine))
        {
            await vmm.KillAsync(id, cancellationToken);
        }
    }, cancellationToken);

    public Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        Found(id, epoch);
        if (await vmm.GetAsync(id, cancellationToken) is { State: VmmState.Running })
        {
            await vmm.PauseAsync(id, cancellationToken);
        }
    }, cancellationToken);

    public Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        Found(id, epoch);
        if (await vmm.GetAsync(id, cancellationToken) is { State: VmmState.Paused } paused)
        {
            // It would stand still again at once, and nobody would know why.
            if (paused.NoRoom && new DriveInfo(store.FolderOf(id.Value)).AvailableFreeSpace < GuestLimits.RoomToGoOn)
            {
                throw DriverException.OfFullDisk(inner: null);
            }

            await vmm.ResumeAsync(id, cancellationToken);
        }
    }, cancellationToken);

    public Task SuspendAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        var record = Found(id, epoch);
        if ((vmm.Abilities & VmmAbilities.MemorySnapshots) == 0)
        {
            throw new DriverException("SuspendUnsupported", $"{Name} cannot write a guest's memory to disk; stop the instance instead", permanent: true);
        }

        await runs.SuspendAsync(record, await vmm.GetAsync(id, cancellationToken), cancellationToken);
    }, cancellationToken);

    public Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, () =>
    {
        var record = Found(id, epoch);
        if (record.Epoch < epoch)
        {
            store.Write(record with { Epoch = epoch });
        }

        return Task.CompletedTask;
    }, cancellationToken);

    public Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        Refuse(epoch, store.Read(id.Value));
        await EndAsync(id, cancellationToken);
        logs.Remove(id.Value);
        store.Remove(id.Value);
    }, cancellationToken);

    public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => vmm.WatchAsync(cancellationToken);

    private static bool IsAlive(VmmGuest? machine) => machine is { State: VmmState.Running or VmmState.Paused };

    /// <summary>Its end is to be noted, or nobody has let it write again.</summary>
    private static bool NeedsLook(GuestRecord record, VmmGuest? machine) =>
        IsAlive(machine) ? record.FrozenAt is not null && machine!.State == VmmState.Running : record.IsUnderWay;

    private static void Refuse(Epoch epoch, GuestRecord? record)
    {
        if (record is not null && epoch < record.Epoch)
        {
            throw new DriverException("StaleEpoch", $"the call is of epoch {epoch}, the guest of epoch {record.Epoch}", permanent: true);
        }
    }

    private static DriverException NotCreated(InstanceId id) => new("NotCreated", $"the node has no whole guest {id}", permanent: false);

    private GuestRecord Found(InstanceId id, Epoch epoch)
    {
        var record = store.Read(id.Value) ?? throw NotCreated(id);
        Refuse(epoch, record);
        return record;
    }

    /// <summary>The config drive after the root disk.</summary>
    private IReadOnlyList<GuestDisk> WithConfig(GuestRecord record, IReadOnlyList<GuestDisk> made) => record.Config is null
        ? made
        : [made[0], new GuestDisk("config", store.ConfigDriveOf(record.Assignment.Uid), DiskFormat.Raw), .. made.Skip(1)];

    private async Task EndAsync(InstanceId id, CancellationToken cancellationToken)
    {
        await vmm.KillAsync(id, cancellationToken);
        runs.Ended(id);
        await vmm.RemoveAsync(id, cancellationToken);
    }

    private async Task<DriverInstance?> LookAsync(string id, CancellationToken cancellationToken)
    {
        var machine = await vmm.GetAsync(new InstanceId(id), cancellationToken);
        var record = store.Read(id);
        if (record is not null && !IsAlive(machine))
        {
            record = runs.Settle(record, machine);
        }
        else if (record is { FrozenAt: not null } && machine is { State: VmmState.Running })
        {
            record = await runs.ThawAsync(record, cancellationToken);
        }

        return record is null && machine is null && !store.Exists(id) && !logs.Exists(id) ? null : Describe(id, record, machine);
    }

    private static DriverInstance Describe(string id, GuestRecord? record, VmmGuest? machine)
    {
        var process = IsAlive(machine) ? machine!.ProcessId : null;
        if (record is null)
        {
            return new DriverInstance(new InstanceId(id), Epoch.None, "", "", 0, 0, DriverState.Partial, process);
        }

        var assignment = record.Assignment;
        var state = machine?.State switch
        {
            VmmState.Running or VmmState.Paused when record.Held => DriverState.Created,
            VmmState.Running => DriverState.Running,
            VmmState.Paused => DriverState.Paused,
            _ when !record.Made => DriverState.Partial,
            _ when record.Suspended => DriverState.Suspended,
            _ => record.StartedAt is null ? DriverState.Created : DriverState.Stopped,
        };
        return new DriverInstance(
            record.Id,
            record.Epoch,
            assignment.Name,
            assignment.Project,
            assignment.Generation,
            assignment.Spec.RestartGeneration,
            state,
            process,
            record.StartedAt,
            state is DriverState.Stopped ? record.FinishedAt : null,
            state is DriverState.Stopped ? record.Exit?.ToStatus() : null,
            MadeFrom: assignment,
            Restarts: record.Restarts)
        {
            Accelerator = record.Accelerator,
            Snapshots = [.. record.Snapshots.Select(snapshot => snapshot.ToDriver())],
            Restored = record.Restored,
        };
    }

    private async Task GuardAsync(InstanceId id, Func<Task> work, CancellationToken cancellationToken)
    {
        using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
        try
        {
            await work();
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            throw DriverException.OfFullDisk(error);
        }
    }
}
