using System.Runtime.CompilerServices;
using Containerd.Events;
using Containerd.Services.Containers.V1;
using Containerd.Services.Events.V1;
using Containerd.Services.Tasks.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Process = Containerd.Types.Tasks.Process;
using SnapshotsOfContainerd = Containerd.Services.Snapshots.V1;
using TaskStatus = Containerd.Types.Tasks.Status;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Containers through containerd's own API.</summary>
/// <remarks>
/// An instance is one container record (with the <see cref="InstanceRecord"/> and the OCI specification), one writable snapshot,
/// and while it runs one task; all three are named by the instance's uid. A task that ended is removed as soon as its exit is noted in
/// the record, so that a stopped instance costs no process and its exit survives a reboot.
/// </remarks>
internal sealed class ContainerdDriver(
    ContainerdClient client,
    ContainerdProbe probe,
    InstanceDefinitions definitions,
    ContainerTasks tasks,
    Leftovers leftovers,
    InstanceFiles files,
    Kernel.Cgroups cgroups,
    ShimGroups groups,
    IdleShims shims,
    LogStore logs,
    ContainerdAccess access,
    ILogger<ContainerdDriver> log) : IInstanceDriver
{
    private readonly KeyedLock _locks = new();

    public InstanceType Type => InstanceType.Container;

    public string Name => "containerd";

    public bool LimitsWhileRunning => true;

    public IInstanceAccess Access => access;

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => probe.ProbeAsync(cancellationToken);

    public Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken) => GuardAsync<IReadOnlyList<DriverInstance>>(
        async () =>
        {
            var containersCall = client.Containers.ListAsync(new ListContainersRequest(), client.Call(cancellationToken)).ResponseAsync;
            var tasksCall = client.Tasks.ListAsync(new ListTasksRequest(), client.Call(cancellationToken)).ResponseAsync;
            await access.SweepAsync(cancellationToken);
            var snapshots = await ListSnapshotsAsync(cancellationToken);
            var containers = (await containersCall).Containers.ToDictionary(container => container.Id, StringComparer.Ordinal);
            var running = (await tasksCall).Tasks.ToDictionary(IdOf, StringComparer.Ordinal);
            var foreign = containers.Values.Where(container => !container.Labels.ContainsKey(InstanceRecord.UidLabel)).Select(c => c.Id).ToHashSet();
            var ids = containers.Keys.Concat(running.Keys).Concat(snapshots).Concat(cgroups.List()).Concat(files.List()).Concat(logs.List())
                .Where(id => !foreign.Contains(id))
                .Distinct(StringComparer.Ordinal)
                .Order(StringComparer.Ordinal);
            var instances = new List<DriverInstance>();
            foreach (var id in ids)
            {
                var container = containers.GetValueOrDefault(id);
                var task = running.GetValueOrDefault(id);
                var seen = Describe(id, container, task, snapshots.Contains(id));
                if (container is not null && task?.Status == TaskStatus.Stopped && _locks.TryEnter(id) is { } holder)
                {
                    using (holder)
                    {
                        seen = await LookAsync(id, cancellationToken) ?? seen;
                    }
                }

                instances.Add(seen);
            }

            EndIdleShims(locked: null);
            return instances;
        },
        cancellationToken);

    public Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            return await LookAsync(id.Value, cancellationToken);
        },
        cancellationToken);

    public Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(definition.Id.Value, cancellationToken);
            await definitions.PutAsync(definition, cancellationToken);
            return true;
        },
        cancellationToken);

    public Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            var start = definitions.TakePrepared(id.Value, epoch);
            if (start is null)
            {
                var record = await definitions.FindAsync(id.Value, cancellationToken)
                    ?? throw new DriverException("NotCreated", $"containerd has no container {id}", permanent: false);
                Refuse(epoch, record);
                if (ContainerTasks.IsAlive(await tasks.FindAsync(id.Value, cancellationToken)))
                {
                    return true;
                }

                if (record.Exit is { } exit)
                {
                    var ran = files.StartedAt(id.Value) is { } began && exit.At > began ? exit.At.Value - began : TimeSpan.Zero;
                    await definitions.NoteRestartAsync(id.Value, record.Restarts.After(ran), cancellationToken);
                }

                start = StartInput.Of(record, await definitions.MountsAsync(id.Value, cancellationToken));
            }

            try
            {
                await tasks.StartAsync(id.Value, start, cancellationToken);
            }
            catch (RpcException error) when (error.StatusCode is not (StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled))
            {
                // Refused, not lost: nothing of the attempt may stay behind.
                log.StartRefused(id.Value, error.Status.Detail);
                groups.Leave(id.Value);
                await tasks.EndAsync(id.Value, await tasks.FindAsync(id.Value, cancellationToken), cancellationToken);
                throw;
            }

            return true;
        },
        cancellationToken);

    public Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            var record = await definitions.FindAsync(id.Value, cancellationToken);
            Refuse(epoch, record);
            var task = await tasks.FindAsync(id.Value, cancellationToken);
            if (task is not null && task.Status is not (TaskStatus.Stopped or TaskStatus.Unknown))
            {
                // Signal 0 would be sent as it is: it asks for nothing, and the process would be killed after its grace period.
                var signal = policy.Signal != 0 ? policy.Signal : record is { StopSignal: not 0 } ? record.StopSignal : SignalNames.Terminate;
                task = await tasks.StopAsync(id.Value, task, policy with { Signal = signal }, cancellationToken);
            }

            await SettleAsync(id.Value, record, task, cancellationToken);
            return true;
        },
        cancellationToken);

    public Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => FreezeAsync(id, epoch, freeze: true, cancellationToken);

    public Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => FreezeAsync(id, epoch, freeze: false, cancellationToken);

    public Task LimitAsync(InstanceId id, Epoch epoch, InstanceLimits limits, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            var container = await definitions.FindContainerAsync(id.Value, cancellationToken);
            Refuse(epoch, container is null ? null : InstanceRecord.Read(container));
            if (container is not null && ContainerTasks.IsAlive(await tasks.FindAsync(id.Value, cancellationToken)))
            {
                // First the kernel, then the note: after a crash in between the same is done again.
                await tasks.LimitAsync(id.Value, limits, cancellationToken);
                await definitions.NoteLimitsAsync(container, limits, cancellationToken);
            }

            return true;
        },
        cancellationToken);

    public Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            var record = await definitions.FindAsync(id.Value, cancellationToken)
                ?? throw new DriverException("NotCreated", $"containerd has no container {id}", permanent: false);
            Refuse(epoch, record);
            if (record.Epoch < epoch)
            {
                await definitions.NoteEpochAsync(id.Value, epoch, cancellationToken);
            }

            return true;
        },
        cancellationToken);

    public Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            Refuse(epoch, await definitions.FindAsync(id.Value, cancellationToken));
            await tasks.EndAsync(id.Value, await tasks.FindAsync(id.Value, cancellationToken), cancellationToken);
            await definitions.RemoveAsync(id.Value, cancellationToken);
            logs.Remove(id.Value);

            // Also a shim that was started for another of the group, which may be long gone: of a shim that was told nothing of its last task's end
            // (containerd or its client died while the task was deleted) this removal is the last that anybody hears.
            EndIdleShims(locked: id.Value);
            shims.RemoveDeadSocket(id.Value);
            if (groups.Leave(id.Value) is { } group)
            {
                shims.RemoveDeadSocket(group);
            }

            return true;
        },
        cancellationToken);

    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var request = new SubscribeRequest
        {
            Filters = { $"namespace=={client.Namespace},topic~=|^/tasks/|,topic!=\"/tasks/exec-added\",topic!=\"/tasks/exec-started\"" },
        };
        using var call = client.Events.Subscribe(request, client.Call(null, cancellationToken));

        // containerd may just have come back.
        await GuardAsync(
            async () =>
            {
                await ContainerdLease.DeleteEndedAsync(client, cancellationToken);
                return true;
            },
            cancellationToken);
        while (true)
        {
            if (!await GuardAsync(() => call.ResponseStream.MoveNext(cancellationToken), cancellationToken))
            {
                throw new DriverException(RuntimeErrors.Unavailable, "containerd ended the stream of events", permanent: false);
            }

            if (call.ResponseStream.Current is { Event: { } @event } envelope)
            {
                var told = TaskEvent.Parser.ParseFrom(@event.Value);
                if (envelope.Topic != "/tasks/exit" || told.Process == told.ContainerId)
                {
                    // The end of another process than the main one changes nothing, and health checks end every second.
                    yield return new InstanceId(told.ContainerId);
                }
            }
        }
    }

    private Task<bool> FreezeAsync(InstanceId id, Epoch epoch, bool freeze, CancellationToken cancellationToken) => GuardAsync(
        async () =>
        {
            using var holder = await _locks.EnterAsync(id.Value, cancellationToken);
            Refuse(epoch, await definitions.FindAsync(id.Value, cancellationToken));
            var task = await tasks.FindAsync(id.Value, cancellationToken);
            var options = client.Call(ContainerdLimits.Runtime, cancellationToken);
            if (freeze && task?.Status == TaskStatus.Running)
            {
                await client.Tasks.PauseAsync(new PauseTaskRequest { ContainerId = id.Value }, options);
            }
            else if (!freeze && task?.Status is TaskStatus.Paused or TaskStatus.Pausing)
            {
                await client.Tasks.ResumeAsync(new ResumeTaskRequest { ContainerId = id.Value }, options);
            }

            return true;
        },
        cancellationToken);

    /// <param name="locked">Whose lock the caller holds.</param>
    private void EndIdleShims(string? locked)
    {
        foreach (var id in shims.List())
        {
            if (id == locked)
            {
                shims.End(id);
            }
            else if (_locks.TryEnter(id) is { } holder)
            {
                using (holder)
                {
                    shims.End(id);
                }
            }
        }
    }

    private static string IdOf(Process task) => task.ContainerId.Length > 0 ? task.ContainerId : task.Id;

    private static void Refuse(Epoch epoch, InstanceRecord? record)
    {
        if (record is not null && epoch < record.Epoch)
        {
            throw InstanceDefinitions.Stale(epoch, record);
        }
    }

    private async Task<DriverInstance?> LookAsync(string id, CancellationToken cancellationToken)
    {
        var taskCall = tasks.FindAsync(id, cancellationToken);
        var snapshotCall = definitions.HasSnapshotAsync(id, cancellationToken);
        var container = await definitions.FindContainerAsync(id, cancellationToken);
        var task = await taskCall;
        var hasSnapshot = await snapshotCall;
        if (container is not null && task?.Status == TaskStatus.Stopped)
        {
            var record = await SettleAsync(id, InstanceRecord.Read(container), task, cancellationToken);
            record!.WriteTo(container.Labels);
            task = null;
        }

        return container is null && task is null && !hasSnapshot && !leftovers.Any(id) && !Directory.Exists(files.DirectoryOf(id)) && !logs.Exists(id)
            ? null
            : Describe(id, container, task, hasSnapshot);
    }

    /// <summary>Notes how a task ended, then removes it; in this order, so that a crash in between loses nothing.</summary>
    private async Task<InstanceRecord?> SettleAsync(string id, InstanceRecord? record, Process? task, CancellationToken cancellationToken)
    {
        if (record is not null && task is not null)
        {
            if (tasks.ExitOf(task) is { } exit)
            {
                record = record with { Exit = exit };
                await definitions.NoteExitAsync(record, cancellationToken);
            }
            else
            {
                log.StartCutOff(id);
                files.ForgetStart(id);
            }
        }

        // The shim ends with its last task. Whoever is made next must not be given its name: it could find a shim about to go.
        var emptied = groups.Leave(id);
        await tasks.EndAsync(id, task, cancellationToken);
        if (emptied is not null)
        {
            shims.RemoveDeadSocket(emptied);
        }

        return record;
    }

    private DriverInstance Describe(string id, Container? container, Process? task, bool hasSnapshot)
    {
        if (container is null)
        {
            return new DriverInstance(
                new InstanceId(id), Epoch.None, "", "", 0, 0, DriverState.Partial, ContainerTasks.IsAlive(task) ? (int)task!.Pid : null);
        }

        var record = InstanceRecord.Read(container);
        var startedAt = files.StartedAt(id);
        var ended = task?.Status == TaskStatus.Stopped ? tasks.ExitOf(task) : null;
        var state = task?.Status switch
        {
            TaskStatus.Running => DriverState.Running,
            TaskStatus.Paused or TaskStatus.Pausing => DriverState.Paused,
            TaskStatus.Stopped when ended is not null => DriverState.Stopped,
            _ when !hasSnapshot => DriverState.Partial,
            TaskStatus.Created or TaskStatus.Stopped => DriverState.Created,
            // No task: it ended and that was noted, or it vanished with its shim, or it never ran since the last boot.
            _ => record.Exit is not null || startedAt is not null ? DriverState.Stopped : DriverState.Created,
        };
        var exit = task is null ? record.Exit : ended;
        return new DriverInstance(
            new InstanceId(id),
            record.Epoch,
            record.Name,
            record.Project,
            record.Generation,
            record.RestartGeneration,
            state,
            ContainerTasks.IsAlive(task) ? (int)task!.Pid : null,
            startedAt,
            exit?.At,
            exit?.ToStatus(),
            record.Limits,
            InstanceRecord.MadeFrom(container),
            record.Restarts);
    }

    private async Task<HashSet<string>> ListSnapshotsAsync(CancellationToken cancellationToken)
    {
        var request = new SnapshotsOfContainerd.ListSnapshotsRequest { Snapshotter = client.Snapshotter, Filters = { $"labels.\"{InstanceRecord.UidLabel}\"" } };
        using var call = client.Snapshots.List(request, client.Call(cancellationToken));
        var keys = new HashSet<string>(StringComparer.Ordinal);
        await foreach (var part in call.ResponseStream.ReadAllAsync(cancellationToken))
        {
            keys.UnionWith(part.Info.Select(info => info.Name));
        }

        return keys;
    }

    private async Task<T> GuardAsync<T>(Func<Task<T>> work, CancellationToken cancellationToken)
    {
        try
        {
            return await work();
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw RuntimeErrors.Translate(error, client.SocketPath);
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            throw DriverException.OfFullDisk(error);
        }
    }
}

internal static partial class ContainerdDriverLog
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "Container {Id} did not start: {Detail}")]
    public static partial void StartRefused(this ILogger logger, string id, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The start of container {Id} was cut off before its process began; it counts as not started")]
    public static partial void StartCutOff(this ILogger logger, string id);
}
