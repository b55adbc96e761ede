using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>The agent died at this point.</summary>
internal sealed class AgentDiedException : Exception;

/// <summary>A VMM in memory, which outlives the agents of a test as a real one does.</summary>
internal sealed class FakeVmm : IVmm
{
    private readonly Dictionary<InstanceId, VmmGuest> _guests = [];

    /// <summary>Called at each step of everything around a guest; may throw.</summary>
    public Action<string> At { get; set; } = _ => { };

    public bool Mute { get; set; }

    public InstanceType Type => InstanceType.Microvm;

    public string Name => "fake";

    public VmmAbilities Abilities { get; set; } = VmmAbilities.OutputFiles | VmmAbilities.MemorySnapshots | VmmAbilities.FirmwareBoot;

    public List<GuestMachine> Started { get; } = [];

    public int PowerButton { get; private set; }

    /// <summary>What a guest has in memory when it is saved.</summary>
    public string Memory { get; set; } = "memory";

    /// <summary>What a machine does when it is started.</summary>
    public Action<GuestMachine> OnStart { get; set; } = _ => { };

    public Action OnPowerButton { get; set; } = () => { };

    public IReadOnlyCollection<VmmGuest> Guests => _guests.Values;

    public VmmState? StateOf(InstanceId id) => _guests.GetValueOrDefault(id)?.State;

    /// <summary>The process is gone, and the VMM has something left of it.</summary>
    public void End(InstanceId id, bool poweredOff = false) => _guests[id] = new VmmGuest(id, VmmState.Stopped) { PoweredOff = poweredOff };

    public void Reboot() => _guests.Clear();

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => Task.FromResult(new RuntimeInfo { Type = Type, Available = true });

    public Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken) => Ask("list", () => (IReadOnlyList<VmmGuest>)[.. _guests.Values]);

    public Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken) => Ask("get", () => _guests.GetValueOrDefault(id));

    public Task StartAsync(GuestMachine machine, CancellationToken cancellationToken) => Do("start", () =>
    {
        if (StateOf(machine.Id) is not (VmmState.Running or VmmState.Paused))
        {
            Started.Add(machine);
            _guests[machine.Id] = new VmmGuest(machine.Id, machine.StayPaused ? VmmState.Paused : VmmState.Running, 4711);
            OnStart(machine);
        }
    });

    public Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken) => Do("power off", () =>
    {
        PowerButton++;
        OnPowerButton();
    });

    public Task KillAsync(InstanceId id, CancellationToken cancellationToken) => Do("kill", () =>
    {
        if (_guests.ContainsKey(id))
        {
            End(id);
        }
    });

    public Task PauseAsync(InstanceId id, CancellationToken cancellationToken) => Do("pause", () => _guests[id] = _guests[id] with { State = VmmState.Paused });

    public Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) => Do("resume", () => _guests[id] = _guests[id] with { State = VmmState.Running });

    public Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken) => Do("save", () => File.WriteAllText(path, Memory));

    /// <summary>Of a guest whose own agent answers.</summary>
    public bool AgentAnswers { get; set; } = true;

    public bool Frozen { get; set; }

    public async Task<bool> FreezeAsync(InstanceId id, CancellationToken cancellationToken)
    {
        await Do("freeze", () => Frozen |= AgentAnswers && StateOf(id) == VmmState.Running);
        return AgentAnswers;
    }

    public Task ThawAsync(InstanceId id, CancellationToken cancellationToken) => Do("thaw", () => Frozen = AgentAnswers
        ? false
        : throw new DriverException(GuestLimits.VmmFailed, "no agent", permanent: false));

    public Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken) => Ask("measure", () => new InstanceStats());

    public Task RemoveAsync(InstanceId id, CancellationToken cancellationToken) => Do("remove", () => _guests.Remove(id));

    public async IAsyncEnumerable<InstanceId> WatchAsync([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.CompletedTask;
        yield break;
    }

    private Task<T> Ask<T>(string what, Func<T> answer)
    {
        At($"before {what}");
        return Mute ? throw new DriverException(GuestLimits.Unavailable, "mute", permanent: false) : Task.FromResult(answer());
    }

    private async Task Do(string what, Action work)
    {
        await Ask(what, () =>
        {
            work();
            return true;
        });
        At($"after {what}");
    }
}
