using System.Collections.Concurrent;
using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>VMs through libvirt: a persistent domain per guest, which outlives the agent and libvirtd.</summary>
/// <remarks>
/// Which guests there are and in which state says libvirtd. One that does not answer is never taken for one without guests; only a guest that
/// is to be ended is ended without it, by its process.
/// </remarks>
internal sealed partial class LibvirtVmm(LibvirtOptions options, LibvirtConnection connection, LibvirtRecords records, TimeProvider time) : IVmm, IDisposable
{
    private const uint DefineValidate = 1;
    private const uint ShutdownByPowerButton = 1;

    /// <summary>MANAGED_SAVE, SNAPSHOTS_METADATA and CHECKPOINTS_METADATA of virDomainUndefineFlagsValues.</summary>
    private const uint UndefineEverything = 1 | 2 | 16;

    private const uint UndefineNvram = 4;
    private const uint KeepNvram = 8;

    private readonly LibvirtProcesses _processes = new();

    /// <summary>
    /// Guests whose start was given up without an answer: a libvirtd that was stopped carries it out when it goes on. Whoever asked was told that
    /// it failed, so what then runs is ended as soon as it is seen.
    /// </summary>
    private readonly ConcurrentDictionary<string, bool> _givenUp = new(StringComparer.Ordinal);

    public InstanceType Type => InstanceType.Vm;

    public string Name => "libvirt";

    public VmmAbilities Abilities =>
        VmmAbilities.FirmwareBoot | VmmAbilities.MemorySnapshots | VmmAbilities.Qcow2 | VmmAbilities.OutputFiles | VmmAbilities.Vnc | VmmAbilities.GuestAgent;

    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        var info = new RuntimeInfo { Type = Type, Driver = Name };
        try
        {
            var version = await AskAsync(Version, LibvirtLimits.Query, cancellationToken);
            (info.Version, info.Available) = ($"{version / 1_000_000}.{version / 1000 % 1000}.{version % 1000}", true);
        }
        catch (Exception failure) when (failure is DriverException or LibvirtException)
        {
            info.Message = failure.Message;
        }

        return info;
    }

    public async Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken)
    {
        if (!File.Exists(options.Socket) && !records.Any)
        {
            return [];
        }

        var domains = await AskAsync(LibvirtDomains.List, LibvirtLimits.Query, cancellationToken);
        var guests = new List<VmmGuest>(domains.Count);
        foreach (var domain in domains)
        {
            guests.Add(Describe(await WithoutGivenUpAsync(domain, cancellationToken)));
        }

        return guests;
    }

    public async Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken)
    {
        if (!File.Exists(options.Socket) && !records.Has(id))
        {
            return null;
        }

        return await AskAsync(handle => LibvirtDomains.Find(handle, id.Value), LibvirtLimits.Query, cancellationToken) is { } domain
            ? Describe(await WithoutGivenUpAsync(domain, cancellationToken))
            : null;
    }

    public async Task StartAsync(GuestMachine machine, CancellationToken cancellationToken)
    {
        if (await GetAsync(machine.Id, cancellationToken) is { State: not VmmState.Stopped })
        {
            return;
        }

        var xml = DomainXml.Render(machine, options.FirmwareDirectory);
        records.Add(machine.Id);
        _givenUp.TryRemove(machine.Id.Value, out _);
        try
        {
            await BegunAsync(
                machine.RestoreFrom is { } memory
                    ? connection.TransferAsync(handle => Restore(handle, xml, memory, machine.StayPaused), CancellationToken.None)
                    : AskAsync(handle => Start(handle, xml), LibvirtLimits.Change, CancellationToken.None),
                cancellationToken);
        }
        catch (TimeoutException)
        {
            _givenUp[machine.Id.Value] = true;
            throw new OperationCanceledException(cancellationToken);
        }
        catch (DriverException mute) when (mute.Reason == GuestLimits.Unavailable)
        {
            _givenUp[machine.Id.Value] = true;
            throw;
        }
        catch (LibvirtException refusal)
        {
            // What is left of it would be taken for a guest. What its firmware was told is not of this attempt.
            await UndefineAsync(machine.Id, KeepNvram, CancellationToken.None);
            throw refusal.IsOfDefinition
                ? new DriverException("GuestInvalid", $"libvirt refuses the guest: {refusal.Message}", permanent: true, refusal)
                : Failed("start the guest", refusal);
        }
    }

    public Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken) =>
        ChangeAsync(id, "ask the guest to power off", domain => NativeMethods.DomainShutdown(domain, ShutdownByPowerButton), cancellationToken);

    public async Task KillAsync(InstanceId id, CancellationToken cancellationToken)
    {
        try
        {
            await DestroyAsync(id.Value, cancellationToken);
        }
        catch (DriverException)
        {
            // Whoever has to end a machine need not wait for a libvirtd that is mute or refuses: it finds out by itself.
        }

        if (_processes.Find(id) is { } process)
        {
            await GuestProcess.KillAsync(process, line => LibvirtProcesses.IsOf(id.Value, line), time, cancellationToken);
            _processes.Forget(id);
        }
    }

    public Task PauseAsync(InstanceId id, CancellationToken cancellationToken) =>
        ChangeAsync(id, "pause the guest", NativeMethods.DomainSuspend, cancellationToken);

    public Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) => ChangeAsync(
        id, "resume the guest", domain => Unless(NativeMethods.DomainResume(domain), refusal => refusal.NotRunning && LibvirtDomains.IsRunning(domain)), cancellationToken);

    public async Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken)
    {
        try
        {
            return await AskAsync(
                handle =>
                {
                    using var domain = LibvirtDomains.Lookup(handle, id.Value) ?? throw NotRunning(id);
                    return LibvirtDomains.Measure(domain, time.GetUtcNow());
                },
                LibvirtLimits.Measure,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw refusal.NoDomain ? NotRunning(id) : Failed("measure the guest", refusal);
        }
    }

    public async Task RemoveAsync(InstanceId id, CancellationToken cancellationToken)
    {
        await KillAsync(id, cancellationToken);
        if (!File.Exists(options.Socket) && !records.Has(id))
        {
            return;
        }

        await UndefineAsync(id, UndefineNvram, cancellationToken);
    }

    public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => connection.WatchAsync(cancellationToken);

    public void Dispose() => connection.Dispose();

    /// <summary>
    /// Nothing calls a start back that libvirtd was asked for, and whoever came next would find half of it: who cancels waits for its word too,
    /// as long as any change may take.
    /// </summary>
    /// <exception cref="TimeoutException">It was cancelled, and not answered in that time.</exception>
    private async Task BegunAsync(Task start, CancellationToken cancellationToken)
    {
        try
        {
            await start.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await start.WaitAsync(LibvirtLimits.Change, time, CancellationToken.None);
        }
    }

    private static unsafe nuint Version(ConnectionHandle handle)
    {
        nuint version;
        Checked(NativeMethods.ConnectGetLibVersion(handle, &version));
        return version;
    }

    private static int Start(ConnectionHandle handle, string xml)
    {
        using var domain = Checked(NativeMethods.DomainDefine(handle, xml, DefineValidate));
        return Checked(NativeMethods.DomainCreate(domain, 0));
    }

    private static int Checked(int result) => result < 0 ? throw LibvirtException.OfThisThread() : result;

    private static DomainHandle Checked(DomainHandle domain) => domain.IsInvalid ? throw LibvirtException.OfThisThread() : domain;

    private static int Unless(int result, Func<LibvirtException, bool> expected) =>
        result >= 0 || (LibvirtException.OfThisThread() is var refusal && expected(refusal)) ? 0 : throw refusal;

    private static DriverException NotRunning(InstanceId id) => new("NotRunning", $"the VM {id} does not run; start the instance first", permanent: false);

    private static DriverException Failed(string what, LibvirtException refusal) =>
        new(GuestLimits.VmmFailed, $"libvirt could not {what}: {refusal.Message}", permanent: false, refusal);

    private VmmGuest Describe(DomainState domain)
    {
        var id = new InstanceId(domain.Uid);
        return domain.State != VmmState.Stopped && _processes.Find(id) is { } process
            ? new VmmGuest(id, domain.State, process.Id, GuestProcess.StartedAt(process, time)) { NoRoom = domain.NoRoom }
            : new VmmGuest(id, domain.State) { PoweredOff = domain.PoweredOff };
    }

    /// <summary>The domain as it is, or as it is after what nobody waits for any more was ended.</summary>
    private async Task<DomainState> WithoutGivenUpAsync(DomainState domain, CancellationToken cancellationToken)
    {
        if (domain.State == VmmState.Stopped || !_givenUp.ContainsKey(domain.Uid))
        {
            return domain;
        }

        await DestroyAsync(domain.Uid, cancellationToken);
        return domain with { State = VmmState.Stopped, PoweredOff = false };
    }

    private async Task DestroyAsync(string uid, CancellationToken cancellationToken)
    {
        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = LibvirtDomains.Lookup(handle, uid);
                    return domain is null ? 0 : Unless(NativeMethods.DomainDestroy(domain, 0), refusal => refusal.NotRunning || refusal.NoDomain);
                },
                LibvirtLimits.Change,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw Failed("end the guest", refusal);
        }
    }

    /// <summary>With all that libvirtd keeps of it.</summary>
    /// <param name="nvram">What becomes of its firmware's variables.</param>
    private async Task UndefineAsync(InstanceId id, uint nvram, CancellationToken cancellationToken)
    {
        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = LibvirtDomains.Lookup(handle, id.Value);
                    return domain is null ? 0 : Unless(NativeMethods.DomainUndefine(domain, UndefineEverything | nvram), refusal => refusal.NoDomain);
                },
                LibvirtLimits.Change,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw Failed("remove the guest", refusal);
        }

        LibvirtLogs.Remove(options.Socket, id.Value);
        _processes.Forget(id);
        records.Remove(id);
    }

    private Task<T> AskAsync<T>(Func<ConnectionHandle, T> call, TimeSpan deadline, CancellationToken cancellationToken) =>
        connection.CallAsync(call, deadline, cancellationToken);

    private async Task ChangeAsync(InstanceId id, string what, Func<DomainHandle, int> change, CancellationToken cancellationToken)
    {
        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = LibvirtDomains.Lookup(handle, id.Value) ?? throw NotRunning(id);
                    return Checked(change(domain));
                },
                LibvirtLimits.Change,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw refusal.NoDomain || refusal.NotRunning ? NotRunning(id) : Failed(what, refusal);
        }
    }
}
