using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>VMs through libvirt: a persistent domain per guest, which outlives the agent and libvirtd.</summary>
/// <remarks>
/// What runs is known twice: from libvirtd, and from the processes of the node. libvirtd tells states; a process without an answer is
/// a machine of which nothing more is known, never one that is not there.
/// </remarks>
internal sealed partial class LibvirtVmm(LibvirtOptions options, LibvirtConnection connection, TimeProvider time) : IVmm, IDisposable
{
    private const uint DefineValidate = 1;
    private const uint ShutdownByPowerButton = 1;

    /// <summary>MANAGED_SAVE, SNAPSHOTS_METADATA, NVRAM and CHECKPOINTS_METADATA.</summary>
    private const uint UndefineEverything = 1 | 2 | 4 | 16;

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
        var processes = LibvirtProcesses.All();
        if (processes.Count == 0 && !File.Exists(options.Socket))
        {
            // No libvirtd, and no process that one could have left.
            return [];
        }

        var domains = await AskAsync(handle => LibvirtDomains.List(handle), LibvirtLimits.Query, cancellationToken);
        return [.. domains.Select(domain => Describe(domain, processes.TryGetValue(domain.Uid, out var mark) ? mark : null))];
    }

    public async Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken)
    {
        var process = LibvirtProcesses.Of(id);
        if (process is null && !File.Exists(options.Socket))
        {
            return null;
        }

        return await AskAsync(handle => LibvirtDomains.Find(handle, id.Value), LibvirtLimits.Query, cancellationToken) is { } domain
            ? Describe(domain, process)
            : null;
    }

    public async Task StartAsync(GuestMachine machine, CancellationToken cancellationToken)
    {
        if (await GetAsync(machine.Id, cancellationToken) is { State: not VmmState.Stopped })
        {
            return;
        }

        var xml = DomainXml.Render(machine, options.FirmwareDirectory);
        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = Checked(NativeMethods.DomainDefine(handle, xml, DefineValidate));
                    return machine.RestoreFrom is { } memory
                        ? Checked(NativeMethods.DomainRestore(handle, memory, null, machine.StayPaused ? SavePaused : SaveRunning))
                        : Checked(NativeMethods.DomainCreate(domain, 0));
                },
                machine.RestoreFrom is null ? LibvirtLimits.Change : LibvirtLimits.Transfer,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            // What is left of it would be taken for a guest.
            await RemoveAsync(machine.Id, CancellationToken.None);
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
            await AskAsync(
                handle =>
                {
                    using var domain = NativeMethods.DomainLookup(handle, id.Value);
                    return domain.IsInvalid ? Absent() : Unless(NativeMethods.DomainDestroy(domain, 0), refusal => refusal.NotRunning || refusal.NoDomain);
                },
                LibvirtLimits.Change,
                cancellationToken);
        }
        catch (DriverException mute) when (mute.Reason == GuestLimits.Unavailable)
        {
            // Whoever has to end a machine need not wait for libvirtd, which finds out by itself.
        }
        catch (LibvirtException refusal)
        {
            throw Failed("end the guest", refusal);
        }

        if (LibvirtProcesses.Of(id) is { } process)
        {
            await GuestProcess.KillAsync(process, line => LibvirtProcesses.IsOf(id.Value, line), time, cancellationToken);
        }
    }

    public Task PauseAsync(InstanceId id, CancellationToken cancellationToken) =>
        ChangeAsync(id, "pause the guest", NativeMethods.DomainSuspend, cancellationToken);

    public Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) =>
        ChangeAsync(id, "resume the guest", NativeMethods.DomainResume, cancellationToken);

    public async Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken)
    {
        try
        {
            return await AskAsync(
                handle =>
                {
                    using var domain = Checked(NativeMethods.DomainLookup(handle, id.Value));
                    return LibvirtDomains.Measure(domain, time.GetUtcNow());
                },
                LibvirtLimits.Query,
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
        if (!File.Exists(options.Socket) && LibvirtProcesses.Of(id) is null)
        {
            // A definition without a libvirtd is found when there is one again, and removed then.
            return;
        }

        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = NativeMethods.DomainLookup(handle, id.Value);
                    return domain.IsInvalid ? Absent() : Unless(NativeMethods.DomainUndefine(domain, UndefineEverything), refusal => refusal.NoDomain);
                },
                LibvirtLimits.Change,
                cancellationToken);
        }
        catch (LibvirtException refusal)
        {
            throw Failed("remove the guest", refusal);
        }
    }

    public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => connection.WatchAsync(cancellationToken);

    public void Dispose() => connection.Dispose();

    private static unsafe nuint Version(ConnectionHandle handle)
    {
        nuint version;
        Checked(NativeMethods.ConnectGetLibVersion(handle, &version));
        return version;
    }

    private static int Checked(int result) => result < 0 ? throw LibvirtException.OfThisThread() : result;

    private static DomainHandle Checked(DomainHandle domain) => domain.IsInvalid ? throw LibvirtException.OfThisThread() : domain;

    private static int Unless(int result, Func<LibvirtException, bool> expected) =>
        result >= 0 || (LibvirtException.OfThisThread() is var refusal && expected(refusal)) ? 0 : throw LibvirtException.OfThisThread();

    /// <summary>Nothing to do, when that is what libvirt says.</summary>
    private static int Absent() => LibvirtException.OfThisThread() is { NoDomain: false } other ? throw other : 0;

    private static DriverException NotRunning(InstanceId id) => new("NotRunning", $"the VM {id} does not run; start the instance first", permanent: false);

    private static DriverException Failed(string what, LibvirtException refusal) =>
        new(GuestLimits.VmmFailed, $"libvirt could not {what}: {refusal.Message}", permanent: false, refusal);

    private VmmGuest Describe(DomainState domain, ProcessMark? process) => domain.State == VmmState.Stopped || process is not { } mark
        ? new VmmGuest(new InstanceId(domain.Uid), domain.State) { PoweredOff = domain.PoweredOff }
        : new VmmGuest(new InstanceId(domain.Uid), domain.State, mark.Id, GuestProcess.StartedAt(mark, time));

    private Task<T> AskAsync<T>(Func<ConnectionHandle, T> call, TimeSpan deadline, CancellationToken cancellationToken) =>
        connection.CallAsync(call, deadline, cancellationToken);

    private async Task ChangeAsync(InstanceId id, string what, Func<DomainHandle, int> change, CancellationToken cancellationToken)
    {
        try
        {
            await AskAsync(
                handle =>
                {
                    using var domain = Checked(NativeMethods.DomainLookup(handle, id.Value));
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
