using System.Runtime.CompilerServices;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>microVMs through Firecracker: one process per guest, in a jail where there is a jailer.</summary>
internal sealed partial class FirecrackerVmm(
    FirecrackerOptions options, FirecrackerRecords records, FirecrackerLaunch launch, FirecrackerProbe probe, GuestFolders folders, TimeProvider time)
    : IVmm, IDisposable
{
    private readonly GuestExits _exits = new();
    private readonly Lock _users = new();

    public InstanceType Type => InstanceType.Microvm;

    public string Name => "firecracker";

    public VmmAbilities Abilities => VmmAbilities.MemorySnapshots | VmmAbilities.ConsoleFiles;

    public int? ChannelPort => 1024;

    public string KernelArguments(long? tscKiloHertz) => KernelCommandLine.OfFirecracker();

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => probe.ProbeAsync(cancellationToken);

    public async Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken) =>
        await Task.WhenAll(records.List().Select(record => LookAsync(record, cancellationToken)));

    public async Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken) =>
        records.Read(id) is { } record ? await LookAsync(record, cancellationToken) : null;

    public async Task StartAsync(GuestMachine machine, CancellationToken cancellationToken)
    {
        MachineRules.Check(machine, options);
        if (records.Read(machine.Id) is { } earlier)
        {
            if (IsRunning(earlier) && await DescribeAsync(earlier, cancellationToken) is { State: "Running" or "Paused" })
            {
                return;
            }

            await RemoveAsync(machine.Id, cancellationToken);
        }

        var record = Reserve(machine);
        try
        {
            folders.Lay(record, machine);
            record = await launch.StartAsync(record, machine, cancellationToken);
            using var root = GuestRoot.Open(record.Root)!;
            using var client = Client(root);
            await MachineCalls.StartAsync(client, machine, options, cancellationToken);

            // By way of the run directory, which is where the socket is: links do not lead from one mount to another.
            using var run = GuestRoot.Open(record.RunDirectory)!;
            run.LinkSocket(GuestFiles.ChannelSocket, machine.ChannelSocket);
            _exits.Watch(machine.Id, record.Process);
        }
        catch (Exception error) when (error is DriverException or IOException or OperationCanceledException)
        {
            var words = FirecrackerLaunch.LastWords(record);

            // Also when the caller no longer waits: what is left here would be taken for a guest.
            await RemoveAsync(machine.Id, CancellationToken.None);
            throw Told(error, words);
        }
    }

    public async Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken) =>
        await CallAsync(id, client => client.ActAsync(ActionBody.SendCtrlAltDel, cancellationToken));

    public async Task KillAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (records.Read(id) is { } record)
        {
            await launch.KillAsync(record, cancellationToken);
        }
    }

    public async Task PauseAsync(InstanceId id, CancellationToken cancellationToken) =>
        await CallAsync(id, client => client.SetStateAsync(VmStateBody.Paused, cancellationToken));

    public async Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) =>
        await CallAsync(id, client => client.SetStateAsync(VmStateBody.Resumed, cancellationToken));

    public Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken)
    {
        var record = Running(id);
        var use = GuestProcess.Measure(record.Process) ?? throw NotRunning(id);
        var stats = new InstanceStats
        {
            SampledAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()),
            CpuTime = Duration.FromTimeSpan(use.CpuTime),
            MemoryBytes = use.ResidentBytes,
            MemoryLimitBytes = record.MemoryBytes,
            Network = record.Tap is { } tap ? TapCounters.Read(tap) : null,
        };
        if (GuestProcess.Storage(record.Process) is { } storage)
        {
            stats.Block = new BlockStats { ReadBytes = storage.ReadBytes, WrittenBytes = storage.WrittenBytes };
        }

        return Task.FromResult(stats);
    }

    public async Task RemoveAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (records.Read(id) is not { } record)
        {
            return;
        }

        await launch.KillAsync(record, cancellationToken);
        await launch.EraseCgroupAsync(record, cancellationToken);
        GuestFolders.Remove(record);
        records.Remove(id);
    }

    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (var record in records.List())
        {
            if (record.ProcessId != 0 && !_exits.IsWatched(record.Id))
            {
                _exits.Watch(record.Id, record.Process);
            }
        }

        await foreach (var id in _exits.Ended.ReadAllAsync(cancellationToken))
        {
            yield return id;
        }
    }

    public void Dispose() => _exits.Dispose();

    /// <summary>The record, with a user that no other guest has.</summary>
    private FirecrackerRecord Reserve(GuestMachine machine)
    {
        lock (_users)
        {
            uint? user = null;
            if (options.Jailer is { } jailer)
            {
                var taken = records.List().Select(record => record.User).ToHashSet();
                for (var offset = 0u; offset < jailer.Users && user is null; offset++)
                {
                    user = taken.Contains(jailer.FirstUser + offset) ? null : jailer.FirstUser + offset;
                }

                _ = user ?? throw new DriverException(
                    FirecrackerCommand.GuestInvalid, $"all {jailer.Users} users for jails are taken; give the jailer more", permanent: false);
            }

            var record = new FirecrackerRecord(
                machine.Id.Value, machine.Epoch.Value, machine.RunDirectory, folders.RootOf(machine.Id, machine.RunDirectory), user,
                machine.Limits.MemoryBytes, machine.Nic?.Tap, ProcessId: 0, StartTicks: 0);
            records.Write(record);
            return record;
        }
    }

    private async Task<VmmGuest> LookAsync(FirecrackerRecord record, CancellationToken cancellationToken)
    {
        if (!IsRunning(record))
        {
            return new VmmGuest(record.Id, VmmState.Stopped);
        }

        VmmState state;
        try
        {
            state = (await DescribeAsync(record, cancellationToken)).State switch
            {
                "Running" => VmmState.Running,
                "Paused" => VmmState.Paused,
                // Killed between the start of the process and that of the machine.
                _ => VmmState.Stopped,
            };
        }
        catch (DriverException error) when (error.Reason == FirecrackerClient.Unavailable)
        {
            if (!IsRunning(record))
            {
                return new VmmGuest(record.Id, VmmState.Stopped);
            }

            // It does not answer for itself alone, and is there for certain: others need not be unknown because of it.
            state = VmmState.Running;
        }

        return new VmmGuest(record.Id, state, record.ProcessId, GuestProcess.StartedAt(record.Process, time));
    }

    private async Task<InstanceInfo> DescribeAsync(FirecrackerRecord record, CancellationToken cancellationToken)
    {
        using var root = GuestRoot.Open(record.Root) ?? throw new DriverException(
            FirecrackerClient.Unavailable, $"{record.Root} is gone, and firecracker cannot be asked; stop the instance", permanent: false);
        using var client = Client(root);
        return await client.DescribeAsync(cancellationToken);
    }

    private async Task CallAsync(InstanceId id, Func<FirecrackerClient, Task> call)
    {
        using var root = GuestRoot.Open(Running(id).Root) ?? throw NotRunning(id);
        using var client = Client(root);
        await call(client);
    }

    private FirecrackerClient Client(GuestRoot root) => new(token => root.ConnectAsync(GuestFiles.ApiSocket, token), time);

    private FirecrackerRecord Running(InstanceId id) => records.Read(id) is { } record && IsRunning(record) ? record : throw NotRunning(id);

    private static bool IsRunning(FirecrackerRecord record) => FirecrackerLaunch.IsRunning(record);

    private static DriverException NotRunning(InstanceId id) =>
        new("NotRunning", $"the microVM {FirecrackerCommand.Clean(id.Value)} does not run; start the instance first", permanent: false);

    private static Exception Told(Exception error, string words) => error switch
    {
        DriverException driver when words.Length > 0 => new DriverException(driver.Reason, $"{driver.Message} (firecracker: {words})", driver.Permanent, driver),
        IOException full when DriverException.IsFullDisk(full) => DriverException.OfFullDisk(full),
        IOException other => new DriverException(GuestLimits.VmmFailed, $"the microVM's files cannot be laid out: {other.Message}", permanent: false, other),
        _ => error,
    };
}
