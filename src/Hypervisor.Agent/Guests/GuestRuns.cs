using System.Globalization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Warm;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>Runs of guests: how one begins, how it is asked to end, and how its end is found out. The caller holds the guest's lock.</summary>
internal sealed partial class GuestRuns(
    IVmm vmm,
    GuestOptions options,
    GuestStore store,
    IConfigDrives drives,
    IGuestContact contact,
    IAccelerators accelerators,
    WarmStarts warm,
    LogStore logs,
    TimeProvider time,
    ILogger<GuestRuns> log)
{
    /// <summary>Begins a run, or goes on with the one that was suspended.</summary>
    /// <exception cref="DriverException">GuestCrashed, GuestNotBooting, AcceleratorUnavailable, and what the VMM says.</exception>
    public async Task StartAsync(GuestRecord before, CancellationToken cancellationToken)
    {
        var uid = before.Assignment.Uid;
        RefuseWhileCrashing(before);
        var accelerator = GuestPlan.Choose(before.Assignment, await accelerators.FindAsync(cancellationToken));
        var rate = accelerator == Accelerator.Tcg && (before.Config is not null || before.Kernel is not null) ? await accelerators.CounterRateAsync(cancellationToken) : null;
        var record = before.Suspended ? before : before with
        {
            Run = Math.Max(before.Run, before.LastRun) + 1,
            Restarts = before.Exit is null ? before.Restarts : before.Restarts.After(before.Ran),
            Exit = null,
            StartedAt = time.GetUtcNow(),
            FinishedAt = null,
            FrozenAt = null,
            BootId = options.BootId,
            Accelerator = accelerator,
            Held = WarmStarts.IsWanted(before, vmm.Abilities),
        };
        store.MakeRunFolder(uid);
        var (_, output, error) = logs.BeginRun(uid, logs.Limits.With(record.Assignment.Spec.Logs));
        try
        {
            if (!before.Suspended)
            {
                // Before anything runs: whoever finds a machine finds which run it is, and a run that left nothing is known to have been.
                store.Write(record);
                if (record.Config is { } config)
                {
                    drives.Write(store.ConfigDriveOf(uid), config with { Run = record.Run });
                }
            }

            record = await BeginAsync(
                record, GuestPlan.Machine(record, store, options, accelerator, vmm.Abilities, vmm.KernelArguments(rate), output, error), cancellationToken);
        }
        catch (DriverException refusal)
        {
            // Refused, not lost: this was no run.
            LogRefused(uid, refusal.Message);
            await vmm.KillAsync(record.Id, cancellationToken);
            Ended(record.Id);
            store.Write(before with { Run = record.Run });
            throw;
        }

        if (record.Suspended)
        {
            var staysPaused = GuestPlan.StaysPaused(record);
            record = NoteResumed(record);
            if (!staysPaused)
            {
                await GoOnAsync(record, cancellationToken);
            }
        }
        else if (record.Config is not null)
        {
            await AwaitInitAsync(record, cancellationToken);
        }
    }

    /// <summary>From here on the memory on disk is older than the guest: going on from it again would be another history.</summary>
    public GuestRecord NoteResumed(GuestRecord record)
    {
        record = record with { Suspended = false, Interrupted = false, FinishedAt = null, BootId = options.BootId };
        store.Write(record);
        store.RemoveState(record.Assignment.Uid);
        return record;
    }

    /// <summary>A guest that stood still is told the time, and writes again if it was frozen.</summary>
    public async Task GoOnAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        await ThawAsync(record, cancellationToken);
        await RefreshAsync(record, cancellationToken);
    }

    /// <summary>Signal or power button, grace, kill; then notes how it ended.</summary>
    public async Task StopAsync(GuestRecord record, VmmGuest? machine, StopPolicy policy, CancellationToken cancellationToken)
    {
        var killed = false;
        if (record is { Suspended: true, Interrupted: true } && policy.GracePeriod > TimeSpan.Zero && machine is not { State: VmmState.Running or VmmState.Paused })
        {
            (record, machine) = await GoOnToEndAsync(record, machine, cancellationToken);
        }

        if (machine is { State: VmmState.Running or VmmState.Paused })
        {
            if (machine.State == VmmState.Paused)
            {
                await vmm.ResumeAsync(record.Id, cancellationToken);
            }

            if (record.Suspended)
            {
                // A start from that memory was cut off after it began.
                record = NoteResumed(record);
            }

            record = await AwaitThawAsync(record, policy.GracePeriod < GuestLimits.Frozen ? policy.GracePeriod : GuestLimits.Frozen, cancellationToken);
            machine = await EndedAsync(record, policy, cancellationToken);
            if (machine is { State: not VmmState.Stopped })
            {
                await vmm.KillAsync(record.Id, cancellationToken);
                (machine, killed) = (null, true);
            }
        }

        if (record.Suspended)
        {
            // Asked to be stopped, it is not to go on: what it had in memory is given up, as it would be by a stop.
            record = record with { Suspended = false, Interrupted = false, FinishedAt = record.FinishedAt ?? time.GetUtcNow(), Exit = NotedExit.Killed };
            store.Write(record);
            store.RemoveState(record.Assignment.Uid);
        }

        Settle(record, machine, wasAsked: true, killed);
    }

    /// <summary>A guest that stands still for a snapshot is asked to end as one that runs: its user never suspended it.</summary>
    private async Task<(GuestRecord Record, VmmGuest? Machine)> GoOnToEndAsync(GuestRecord record, VmmGuest? machine, CancellationToken cancellationToken)
    {
        try
        {
            await StartAsync(record, cancellationToken);
            return (store.Read(record.Assignment.Uid)!, await vmm.GetAsync(record.Id, cancellationToken));
        }
        catch (DriverException failure)
        {
            // There is nobody to be asked.
            LogNotSignalled(record.Assignment.Uid, failure.Message);
            return (store.Read(record.Assignment.Uid)!, machine);
        }
    }

    /// <summary>Its memory is on disk and no process of it is left, in this order.</summary>
    public async Task SuspendAsync(GuestRecord record, VmmGuest? machine, CancellationToken cancellationToken)
    {
        if (machine is not { State: VmmState.Running or VmmState.Paused })
        {
            Settle(record, machine);
            return;
        }

        if (!record.Suspended)
        {
            if (machine.State == VmmState.Running)
            {
                await vmm.PauseAsync(record.Id, cancellationToken);
            }

            await vmm.SaveAsync(record.Id, store.StateOf(record.Assignment.Uid), cancellationToken);
            record = record with { Suspended = true };
            store.Write(record);
        }

        await vmm.KillAsync(record.Id, cancellationToken);
        Ended(record.Id);
    }

    /// <summary>Notes how a run ended that does not run any more; nothing when that was noted.</summary>
    /// <param name="machine">What the VMM has left of it.</param>
    public GuestRecord Settle(GuestRecord record, VmmGuest? machine, bool wasAsked = false, bool killed = false)
    {
        if (machine is { State: not VmmState.Stopped } || record.Suspended)
        {
            return record;
        }

        if (record.IsUnderWay)
        {
            var now = time.GetUtcNow();
            var exit = record.Config is not null ? drives.ReadExit(store.ConfigDriveOf(record.Assignment.Uid), record.Run) : null;
            exit ??= killed ? NotedExit.Killed : record.Config is null && (wasAsked || machine is { PoweredOff: true }) ? new NotedExit(0) : null;
            record = record with { FinishedAt = now, Exit = exit, Held = false };
            record = record with { Crashes = exit is null && IsCrash(record) ? record.Crashes + 1 : 0 };
            store.Write(record);
            if (exit is null)
            {
                LogVanished(record.Assignment.Uid, record.Run);
            }
        }

        Ended(record.Id);
        return record;
    }

    /// <summary>No process of it is left, and nobody will ask its init any more.</summary>
    public void Ended(InstanceId id)
    {
        contact.Forget(id);
        if (logs.Exists(id.Value) && logs.Of(id).CurrentRun is not null)
        {
            logs.EndRun(id.Value);
        }
    }

    private static bool IsAlive(VmmGuest? machine) => machine is { State: VmmState.Running or VmmState.Paused };

    /// <summary>A host that was rebooted ends its guests; that says nothing of them.</summary>
    private bool IsCrash(GuestRecord record) => record.BootId == options.BootId && record.Ran < Limits.StableRun;

    private void RefuseWhileCrashing(GuestRecord record)
    {
        if (record.Crashes < GuestLimits.CrashesUntilShown || record.FinishedAt is not { } ended)
        {
            return;
        }

        var delay = new RestartCount(record.Crashes, record.Crashes - GuestLimits.CrashesUntilShown).DelayAfter(TimeSpan.Zero);
        var passed = time.GetUtcNow() - ended;
        if (passed >= TimeSpan.Zero && passed < delay)
        {
            throw new DriverException(
                "GuestCrashed",
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"the guest has ended {record.Crashes} times in a row without an exit status, the last time after {record.Ran.TotalSeconds:0.0} s; it is tried again after {delay.TotalSeconds:0} s{Console(record)}"),
                permanent: false);
        }
    }

    /// <summary>A machine that runs is no guest yet: its kernel may have stopped before our init.</summary>
    private async Task AwaitInitAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(GuestLimits.Boot, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        var reached = contact.ReachAsync(record.Id, store.ChannelOf(record.Assignment.Uid), linked.Token);
        try
        {
            for (var poll = GuestLimits.StatePoll; !reached.IsCompleted; poll = poll + poll < GuestLimits.BootPoll ? poll + poll : GuestLimits.BootPoll)
            {
                await Task.WhenAny(reached, Task.Delay(poll, time, linked.Token));
                linked.Token.ThrowIfCancellationRequested();
                if (!reached.IsCompleted && !IsAlive(await vmm.GetAsync(record.Id, cancellationToken)))
                {
                    linked.Cancel();
                    break;
                }
            }

            if (reached.IsCompletedSuccessfully)
            {
                return;
            }
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            await vmm.KillAsync(record.Id, cancellationToken);
            Settle(record, null);
            throw new DriverException(
                "GuestNotBooting",
                string.Create(CultureInfo.InvariantCulture, $"the guest's init said nothing within {GuestLimits.Boot.TotalSeconds:0} s; it was ended{Console(record)}"),
                permanent: false);
        }
        finally
        {
            await reached.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }

        // It has ended already. That an entry point could not be started is the start's failure, as it is of a container's.
        if (Settle(record, null).Exit is { Reason.Length: > 0 } failed)
        {
            throw new DriverException(failed.Reason, failed.Message.Length > 0 ? failed.Message : "the entry point could not be started", permanent: true);
        }
    }

    /// <returns>True when whoever is in it was told; of a button nobody knows whether it was heard.</returns>
    private async Task<bool> AskToEndAsync(GuestRecord record, StopPolicy policy, CancellationToken cancellationToken)
    {
        if (record.Config is not null)
        {
            var signal = policy.Signal != 0 ? policy.Signal : record.StopSignal != 0 ? record.StopSignal : SignalNames.Terminate;
            using var deadline = new CancellationTokenSource(GuestLimits.Signal, time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
            try
            {
                await contact.SignalAsync(record.Id, store.ChannelOf(record.Assignment.Uid), signal, linked.Token);
                return true;
            }
            catch (Exception failure) when (failure is DriverException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                LogNotSignalled(record.Assignment.Uid, failure.Message);
            }
        }

        try
        {
            await vmm.AskToPowerOffAsync(record.Id, cancellationToken);
        }
        catch (DriverException failure)
        {
            // It may be gone already; else the kill at the end of its time needs nobody's word.
            LogNotSignalled(record.Assignment.Uid, failure.Message);
        }

        return false;
    }

    /// <summary>
    /// Asks it to end. A system that boots, or has just gone on from its memory, may miss its power button: it is pressed again and again.
    /// </summary>
    /// <returns>What the VMM says of it once it has ended, or when its time is over.</returns>
    private async Task<VmmGuest?> EndedAsync(GuestRecord record, StopPolicy policy, CancellationToken cancellationToken)
    {
        var begun = time.GetTimestamp();
        var heard = await AskToEndAsync(record, policy, cancellationToken);
        var asked = begun;
        while (true)
        {
            var machine = await vmm.GetAsync(record.Id, cancellationToken);
            if (!IsAlive(machine) || time.GetElapsedTime(begun) >= policy.GracePeriod)
            {
                return machine;
            }

            if (!heard && time.GetElapsedTime(asked) >= GuestLimits.PressAgain)
            {
                asked = time.GetTimestamp();
                heard = await AskToEndAsync(record, policy, cancellationToken);
            }

            await Task.Delay(GuestLimits.StatePoll, time, cancellationToken);
        }
    }

    /// <summary>Its clock stands where it was saved, and another that went on from the same file has the same randomness.</summary>
    private async Task RefreshAsync(GuestRecord record, CancellationToken cancellationToken)
    {
        if (record.Config is null)
        {
            return;
        }

        using var deadline = new CancellationTokenSource(GuestLimits.Signal, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            await contact.RefreshAsync(record.Id, store.ChannelOf(record.Assignment.Uid), linked.Token);
        }
        catch (Exception failure) when (failure is DriverException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            // It runs, and its clock may be late: worse than that would be to end it.
            LogNotRefreshed(record.Assignment.Uid, failure.Message);
        }
    }

    private string Console(GuestRecord record) => store.LastWordsOf(record.Assignment.Uid) is { Length: > 0 } words ? $" (console: {words})" : "";

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} runs again, but was not told the time: {Detail}")]
    private partial void LogNotRefreshed(string id, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} did not start: {Detail}")]
    private partial void LogRefused(string id, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} ended in run {Run} without an exit status: its VMM was killed, or its kernel ended by itself")]
    private partial void LogVanished(string id, long run);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Id} could not be asked to end: {Detail}")]
    private partial void LogNotSignalled(string id, string detail);
}
