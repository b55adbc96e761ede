using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>microVMs through QEMU's microvm machine: one process per guest, which outlives the agent.</summary>
/// <remarks>Which guests there are says a record of each; whether one runs says its process; in which state it is says QEMU's monitor.</remarks>
internal sealed partial class QemuVmm(QemuOptions options, QemuRecords records, GuestCgroups cgroups, QemuProbe probe, TimeProvider time) : IVmm, IDisposable
{
    private const string LogName = "qemu.log";

    /// <summary>What QEMU says of a machine that stands still and can go on.</summary>
    private static readonly HashSet<string> Standing = ["paused", "postmigrate", "inmigrate", "prelaunch", "finish-migrate", "restore-vm", "save-vm", "suspended", "debug"];

    private readonly GuestExits _exits = new();
    private readonly KeyedLock _monitors = new();

    public InstanceType Type => InstanceType.Microvm;

    public string Name => "qemu";

    public VmmAbilities Abilities => VmmAbilities.MemorySnapshots | VmmAbilities.Qcow2 | VmmAbilities.OutputFiles | VmmAbilities.SharedMemory;

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => probe.ProbeAsync(cancellationToken);

    public async Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken) =>
        await Task.WhenAll(records.List().Select(record => ListedAsync(record, cancellationToken)));

    public async Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken) =>
        records.Read(id) is { } record ? await LookAsync(record, cancellationToken) : null;

    public async Task StartAsync(GuestMachine machine, CancellationToken cancellationToken)
    {
        if (records.Read(machine.Id) is { } earlier)
        {
            if (IsRunning(earlier))
            {
                return;
            }

            await RemoveAsync(machine.Id, cancellationToken);
        }

        var arguments = QemuCommandLine.Render(machine);
        var record = new QemuRecord(machine.Id.Value, machine.RunDirectory, machine.Limits.MemoryBytes, machine.Nic?.Tap, 0, 0, machine.Memory is { IsPrivate: false }, AsksBalloon: machine.OutputFiles is null);
        records.Write(record);
        try
        {
            var log = Path.Combine(machine.RunDirectory, LogName);
            var group = machine.Limits.CpuMillicores > 0 ? cgroups.Make(record.Uid, machine.Limits.CpuMillicores) : null;
            var command = new GuestCommand(options.Program, arguments, machine.RunDirectory, machine.RestoreFrom ?? "/dev/null", log, log, group, QemuCommandLine.Tunables(machine));
            await GuestProcess.StartAsync(command, mark =>
            {
                record = record with { ProcessId = mark.Id, StartTicks = mark.StartTicks };
                records.Write(record);
            });
            var warm = QemuCommandLine.IsWarm(machine);
            await FirstCallAsync(record, client => warm ? GoOnFromFileAsync(client, machine, cancellationToken) : Task.CompletedTask, cancellationToken);
            if (machine.RestoreFrom is not null && !warm)
            {
                await GoOnAsync(record, machine, cancellationToken);
            }

            _exits.Watch(machine.Id, record.Process);
        }
        catch (Exception failure)
        {
            var words = LastWords(record);

            // Also when the caller no longer waits: what is left here would be taken for a guest.
            await RemoveAsync(machine.Id, CancellationToken.None);
            throw failure switch
            {
                DriverException driver when words.Length > 0 => new DriverException(driver.Reason, $"{driver.Message} (qemu: {words})", driver.Permanent, driver),
                SocketException gone => new DriverException(GuestLimits.VmmFailed, $"QEMU went away while it was being started: {gone.Message}", permanent: false, gone),
                _ => failure,
            };
        }
    }

    public async Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken) => await CommandAsync(Running(id), "system_powerdown", cancellationToken);

    public async Task KillAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (records.Read(id) is { ProcessId: not 0 } record)
        {
            await GuestProcess.KillAsync(record.Process, line => QemuCommandLine.IsOf(record.Uid, line), time, cancellationToken);
        }
    }

    public async Task PauseAsync(InstanceId id, CancellationToken cancellationToken) => await CommandAsync(Running(id), "stop", cancellationToken);

    public async Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) => await CommandAsync(Running(id), "cont", cancellationToken);

    public async Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken)
    {
        var record = Running(id);
        var use = GuestProcess.Measure(record.Process) ?? throw NotRunning(id);
        var stats = new InstanceStats
        {
            SampledAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()),
            CpuTime = Duration.FromTimeSpan(use.CpuTime),
            MemoryBytes = await UsedMemoryAsync(record, cancellationToken) ?? use.ResidentBytes,
            MemoryLimitBytes = record.MemoryBytes,
            Network = record.Tap is { } tap ? TapCounters.Read(tap) : null,
        };
        if (GuestProcess.Storage(record.Process) is { } storage)
        {
            stats.Block = new BlockStats { ReadBytes = storage.ReadBytes, WrittenBytes = storage.WrittenBytes };
        }

        return stats;
    }

    public async Task RemoveAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (records.Read(id) is not { } record)
        {
            return;
        }

        await KillAsync(id, cancellationToken);
        await cgroups.EraseAsync(id.Value, cancellationToken);
        foreach (var name in (string[])["qmp", "console", GuestMachine.ChannelName, LogName])
        {
            if (Directory.Exists(record.RunDirectory))
            {
                File.Delete(Path.Combine(record.RunDirectory, name));
            }
        }

        records.Remove(id);
    }

    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // Those that an earlier agent started.
        foreach (var record in records.List().Where(record => IsRunning(record) && !_exits.IsWatched(record.Id)))
        {
            _exits.Watch(record.Id, record.Process);
        }

        await foreach (var id in _exits.Ended.ReadAllAsync(cancellationToken))
        {
            yield return id;
        }
    }

    public void Dispose() => _exits.Dispose();

    private static bool IsRunning(QemuRecord record) =>
        record.ProcessId != 0 && GuestProcess.IsRunning(record.Process, line => QemuCommandLine.IsOf(record.Uid, line));

    private static DriverException NotRunning(InstanceId id) => new("NotRunning", $"the microVM {id} does not run; start the instance first", permanent: false);

    private QemuRecord Running(InstanceId id) => records.Read(id) is { } record && IsRunning(record) ? record : throw NotRunning(id);

    /// <summary>One QEMU that is mute does not hide the others: that it is there is known, and whoever asks for it alone is told.</summary>
    private async Task<VmmGuest> ListedAsync(QemuRecord record, CancellationToken cancellationToken)
    {
        try
        {
            return await LookAsync(record, cancellationToken);
        }
        catch (DriverException mute) when (mute.Reason == GuestLimits.Unavailable)
        {
            return Describe(record, VmmState.Running);
        }
    }

    private async Task<VmmGuest> LookAsync(QemuRecord record, CancellationToken cancellationToken)
    {
        if (!IsRunning(record))
        {
            return new VmmGuest(record.Id, VmmState.Stopped);
        }

        string state;
        try
        {
            state = await StateAsync(record, cancellationToken);
        }
        catch (Exception failure) when (failure is SocketException or DriverException && !IsRunning(record))
        {
            return new VmmGuest(record.Id, VmmState.Stopped);
        }
        catch (SocketException failure)
        {
            throw new DriverException(GuestLimits.Unavailable, $"QEMU: nothing listens at its monitor: {failure.Message}", permanent: false, failure);
        }

        return state switch
        {
            "shutdown" => new VmmGuest(record.Id, VmmState.Stopped) { PoweredOff = true },

            // Of all errors of disks the only one that is not told to the guest (werror=enospc, QEMU's own choice).
            "io-error" => Describe(record, VmmState.Paused) with { NoRoom = true },
            _ => Describe(record, Standing.Contains(state) ? VmmState.Paused : VmmState.Running),
        };
    }

    private VmmGuest Describe(QemuRecord record, VmmState state) => new(record.Id, state, record.ProcessId, GuestProcess.StartedAt(record.Process, time));

    private Task<string> StateAsync(QemuRecord record, CancellationToken cancellationToken) =>
        CallAsync(record, client => StateAsync(client, cancellationToken), cancellationToken);

    private static async Task<string> StateAsync(QmpClient client, CancellationToken cancellationToken)
    {
        using var answer = await client.CallAsync("query-status", null, cancellationToken);
        return answer.RootElement.GetProperty("return").GetProperty("status").GetString() ?? "";
    }

    private async Task CommandAsync(QemuRecord record, string command, CancellationToken cancellationToken)
    {
        try
        {
            (await CallAsync(record, client => client.CallAsync(command, null, cancellationToken), cancellationToken)).Dispose();
        }
        catch (SocketException) when (!IsRunning(record))
        {
            throw NotRunning(record.Id);
        }
        catch (SocketException failure)
        {
            throw new DriverException(GuestLimits.Unavailable, $"QEMU: nothing listens at its monitor: {failure.Message}", permanent: false, failure);
        }
    }

    /// <summary>QEMU serves one client at a time.</summary>
    private async Task<T> CallAsync<T>(QemuRecord record, Func<QmpClient, Task<T>> work, CancellationToken cancellationToken)
    {
        using var holder = await _monitors.EnterAsync(record.Uid, cancellationToken);
        using var client = await QmpClient.ConnectAsync(QemuCommandLine.MonitorOf(record.RunDirectory), time, cancellationToken);
        return await work(client);
    }

    /// <summary>The first call to a QEMU that was just started, once its monitor answers.</summary>
    private async Task FirstCallAsync(QemuRecord record, Func<QmpClient, Task> work, CancellationToken cancellationToken)
    {
        var monitor = QemuCommandLine.MonitorOf(record.RunDirectory);
        var answered = false;
        using var deadline = new CancellationTokenSource(QemuLimits.Start, time);
        for (var attempt = 1; ; attempt++)
        {
            if (attempt % QemuLimits.StartLook == 0 && !IsRunning(record))
            {
                throw new DriverException(GuestLimits.VmmFailed, "QEMU ended before its monitor answered", permanent: false);
            }

            string? why = null;
            try
            {
                if (File.Exists(monitor))
                {
                    await CallAsync(record, async client =>
                    {
                        answered = true;
                        await work(client);
                        return true;
                    }, cancellationToken);
                    return;
                }
            }
            catch (Exception failure) when (!answered && failure is (SocketException or DriverException))
            {
                why = failure.Message;
            }

            if (deadline.IsCancellationRequested)
            {
                throw new DriverException(
                    GuestLimits.VmmFailed, $"QEMU's monitor did not answer within {QemuLimits.Start.TotalSeconds:0} s of its start: {why ?? "it is not there"}", permanent: false);
            }

            await Task.Delay(QemuLimits.StartPoll, time, cancellationToken);
        }
    }

    /// <summary>Until it is no longer in a state that passes by itself; others may ask it meanwhile, for a large memory takes minutes.</summary>
    private async Task AwaitStateAsync(QemuRecord record, string passing, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(QemuLimits.Transfer, time);
        while (await StateAsync(record, cancellationToken) == passing)
        {
            ThrowIfLate(deadline.Token);
            await Task.Delay(QemuLimits.TransferPoll, time, cancellationToken);
        }
    }

    private static void ThrowIfLate(CancellationToken deadline)
    {
        if (deadline.IsCancellationRequested)
        {
            throw new DriverException(
                GuestLimits.VmmFailed, $"QEMU has not read the guest's memory within {QemuLimits.Transfer.TotalMinutes:0} min", permanent: false);
        }
    }

    private static string LastWords(QemuRecord record)
    {
        try
        {
            var text = File.ReadAllText(Path.Combine(record.RunDirectory, LogName)).Trim();
            var end = text.Length > QemuLimits.LastWords ? text[^QemuLimits.LastWords..] : text;
            return new string([.. end.Select(character => char.IsControl(character) ? ' ' : character)]);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
