using Containerd.Services.Tasks.V1;
using Containerd.Types;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Logs;
using GetTaskRequest = Containerd.Services.Tasks.V1.GetRequest;
using Process = Containerd.Types.Tasks.Process;
using TaskStatus = Containerd.Types.Tasks.Status;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>What a task is started with, beside what its container record says.</summary>
/// <param name="CpuMillicores">Its limit; 0 is none.</param>
/// <param name="Rate">Of its root file system's device; null without a limit.</param>
internal sealed record StartInput(IReadOnlyList<Mount> Rootfs, long CpuMillicores, RunSettings Run, IoRate? Rate)
{
    public static StartInput Of(InstanceRecord record, IReadOnlyList<Mount> rootfs) => new(rootfs, record.CpuMillicores, record.Run, record.Rate);
}

/// <summary>The running side of containers: tasks, made and ended for certain. The caller holds the instance's lock.</summary>
internal sealed class ContainerTasks(
    ContainerdClient client, Cgroups cgroups, Leftovers leftovers, InstanceFiles files, LogStore logs, TimeProvider time)
{
    private readonly CgroupSupport _cgroupSupport = CgroupSupport.Probe();

    public static bool IsAlive(Process? task) =>
        task?.Status is TaskStatus.Running or TaskStatus.Paused or TaskStatus.Pausing;

    public async Task<Process?> FindAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            return (await client.Tasks.GetAsync(new GetTaskRequest { ContainerId = id }, client.Call(cancellationToken))).Process;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound || RuntimeErrors.IsDeadShim(error))
        {
            // Without its shim a task has no exit any more; containerd is about to notice, and what it leaves is erased here.
            return null;
        }
    }

    /// <summary>Starts the process; nothing when it runs. Whatever an earlier, interrupted attempt left is removed first.</summary>
    /// <remarks>
    /// Also a task that containerd shows as created: when it was killed during a start, its shim killed `runc start`, perhaps between letting the
    /// process go and noting so. The process then runs, and another start waits for ever for one that has gone.
    /// </remarks>
    public async Task StartAsync(string id, StartInput input, CancellationToken cancellationToken)
    {
        if (leftovers.Any(id))
        {
            var task = await FindAsync(id, cancellationToken);
            if (IsAlive(task))
            {
                return;
            }

            await EndAsync(id, task, cancellationToken);
        }

        var device = input.Rate is null ? null : DeviceOf(input);
        files.NoteStarted(id, time.GetUtcNow());
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await CreateAsync(id, input, cancellationToken);
                if (input.CpuMillicores > 0)
                {
                    cgroups.LimitCpu(id, input.CpuMillicores);
                }

                if (device is not null)
                {
                    cgroups.LimitDisk(id, device, input.Rate!);
                }

                await client.Tasks.StartAsync(
                    new StartRequest { ContainerId = id }, client.Call(ContainerdLimits.Runtime, cancellationToken));
                return;
            }
            catch (Exception error) when (attempt < ContainerdLimits.StartAttempts && CanBeginAnew(error))
            {
                // The shim, an earlier one or the group's, ended between being found and being used, or an interrupted attempt was carried out after
                // all; a new one comes with a new attempt.
                // Deleted also when it cannot be found: a restarted containerd may know a task by name only, which is in the way.
                await Task.Delay(ContainerdLimits.StartBackoff * attempt, time, cancellationToken);
                await DeleteAsync(id, cancellationToken);
                await EndAsync(id, await FindAsync(id, cancellationToken), cancellationToken);
            }
        }
    }

    /// <summary>Without a shim a task has no cgroup either, which is noticed first.</summary>
    private static bool CanBeginAnew(Exception error) => error switch
    {
        RpcException rpc => RuntimeErrors.IsDeadShim(rpc) || rpc.StatusCode is StatusCode.NotFound or StatusCode.AlreadyExists,
        DriverException driver => driver.Reason is Cgroups.CpuLimitFailed or Cgroups.DiskRateFailed,
        _ => false,
    };

    /// <summary>Signal, grace period, SIGKILL. Returns the ended task, which still has its exit status.</summary>
    public async Task<Process?> StopAsync(string id, Process task, StopPolicy policy, CancellationToken cancellationToken)
    {
        if (policy.GracePeriod > TimeSpan.Zero && IsAlive(task) && await KillAsync(id, policy.Signal, all: false, cancellationToken))
        {
            if (task.Status != TaskStatus.Running)
            {
                // A frozen process takes no signal.
                await ThawAsync(id, cancellationToken);
            }

            if (await WaitAsync(id, policy.GracePeriod, cancellationToken))
            {
                return await FindAsync(id, cancellationToken);
            }
        }

        var answered = true;
        try
        {
            await KillAsync(id, NativeMethods.SigKill, all: true, cancellationToken);
        }
        catch (RpcException error) when (RuntimeErrors.IsDeadline(error) && !cancellationToken.IsCancellationRequested)
        {
            answered = false;
        }

        if (task.Status is TaskStatus.Paused or TaskStatus.Pausing)
        {
            await ThawAsync(id, cancellationToken);
        }

        if (!answered || !await WaitAsync(id, ContainerdLimits.Kill, cancellationToken))
        {
            // The shim does not see it: what is in the cgroup is what counts.
            await cgroups.EraseAsync(id, cancellationToken);
        }

        return await FindAsync(id, cancellationToken);
    }

    /// <summary>Kills and removes the task and everything that may be left of it without one.</summary>
    public async Task EndAsync(string id, Process? task, CancellationToken cancellationToken)
    {
        if (task is not null)
        {
            if (task.Status != TaskStatus.Stopped)
            {
                await StopAsync(id, task, new StopPolicy(NativeMethods.SigKill, TimeSpan.Zero), cancellationToken);
            }

            await DeleteAsync(id, cancellationToken);
        }

        if (leftovers.Any(id))
        {
            await leftovers.EraseAsync(id, cancellationToken);
        }

        // Deleting a task waits until its shim has passed on all output; without a shim there will be none.
        logs.EndRun(id);
    }

    /// <summary>
    /// Other limits for what runs. The CPU time is not the runtime's to limit (see <see cref="Cgroups.LimitCpu"/>), and left out here it
    /// stays as it is.
    /// </summary>
    public async Task LimitAsync(string id, InstanceLimits limits, CancellationToken cancellationToken)
    {
        if (limits.CpuMillicores > 0)
        {
            cgroups.LimitCpu(id, limits.CpuMillicores);
        }

        await client.Tasks.UpdateAsync(
            new UpdateTaskRequest
            {
                ContainerId = id,
                Resources = new Any { TypeUrl = RuntimeSpec.ResourcesTypeUrl, Value = UnsafeByteOperations.UnsafeWrap(SpecRenderer.Limits(limits, _cgroupSupport).ToJson()) },
            },
            client.Call(ContainerdLimits.Runtime, cancellationToken));
    }

    /// <summary>
    /// How a stopped task ended, asked of it and of the kernel while both still know; null when its start was cut off before the process
    /// began.
    /// </summary>
    public RecordedExit? ExitOf(Process task)
    {
        var id = task.ContainerId.Length > 0 ? task.ContainerId : task.Id;
        return leftovers.IsHeldBack(id)
            ? null
            : new RecordedExit((int)task.ExitStatus & 0xFF, cgroups.WasOutOfMemory(id), task.ExitedAt?.ToDateTimeOffset());
    }

    /// <exception cref="DriverException">DiskRateUnsupported: nothing runs faster than it may, so it does not run.</exception>
    private string DeviceOf(StartInput input)
    {
        return !_cgroupSupport.DiskRates ? throw Unsupported("its kernel offers no cgroup controller of devices (io, or blkio of version 1)")
            : BlockDevice.Of(input.Rootfs) ?? throw Unsupported("containerd keeps root file systems on no block device that the kernel can limit");

        static DriverException Unsupported(string why) => new(
            "DiskRateUnsupported", $"spec.disk_rates: the node cannot limit a container's disk, for {why}; leave it out, choose another node, or type microvm or vm", permanent: true);
    }

    private async Task CreateAsync(string id, StartInput input, CancellationToken cancellationToken)
    {
        var (run, output, errors) = logs.BeginRun(id, logs.Limits.With(input.Run.Logs));
        var create = new CreateTaskRequest
        {
            ContainerId = id,
            Stdin = input.Run.Stdin ? files.MakeInput(id) : "",
            Stdout = output,
            Stderr = input.Run.Terminal ? "" : errors,
            Terminal = input.Run.Terminal,
        };
        create.Rootfs.Add(input.Rootfs);
        try
        {
            await client.Tasks.CreateAsync(create, client.Call(ContainerdLimits.Runtime, cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            logs.CancelRun(id, run);
            throw;
        }
    }

    private async Task<bool> KillAsync(string id, int signal, bool all, CancellationToken cancellationToken)
    {
        try
        {
            await client.Tasks.KillAsync(
                new KillRequest { ContainerId = id, Signal = (uint)signal, All = all },
                client.Call(signal == NativeMethods.SigKill ? ContainerdLimits.Ending : ContainerdLimits.Runtime, cancellationToken));
            return true;
        }
        catch (RpcException error) when (error.StatusCode is StatusCode.NotFound or StatusCode.FailedPrecondition || RuntimeErrors.IsDeadShim(error))
        {
            // Ended by itself meanwhile, or lost its shim: then it is ended by way of its cgroup.
            return false;
        }
    }

    private async Task ThawAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await client.Tasks.ResumeAsync(
                new ResumeTaskRequest { ContainerId = id }, client.Call(ContainerdLimits.Runtime, cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode is not (StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled))
        {
            // Not frozen any more: ended, or thawed by someone else.
        }
    }

    /// <returns>False when it still runs after <paramref name="timeout"/>.</returns>
    private async Task<bool> WaitAsync(string id, TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            await client.Tasks.WaitAsync(new WaitRequest { ContainerId = id }, client.Call(timeout, cancellationToken));
            return true;
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound || RuntimeErrors.IsDeadShim(error))
        {
            return true;
        }
        catch (RpcException error) when (RuntimeErrors.IsDeadline(error))
        {
            return false;
        }
    }

    private async Task DeleteAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await client.Tasks.DeleteAsync(
                new DeleteTaskRequest { ContainerId = id }, client.Call(ContainerdLimits.Ending, cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound || RuntimeErrors.IsDeadShim(error))
        {
            // Gone already, or with its shim; what is left of it is looked for next.
        }
    }
}
