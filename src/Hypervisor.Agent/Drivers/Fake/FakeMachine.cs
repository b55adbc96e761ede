using Hypervisor.Agent.Networking;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>
/// What survives the agent: an in-memory machine with its runtime and network. Several agents in a row may find the same
/// one, as after restarts. For tests and the simulation.
/// </summary>
internal sealed class FakeMachine(TimeProvider time)
{
    private readonly Lock _gate = new();
    private int _nextProcess = 1000;

    /// <summary>By uid.</summary>
    public SortedDictionary<string, DriverInstance> Instances { get; } = new(StringComparer.Ordinal);

    /// <summary>Network attachments by uid.</summary>
    public SortedDictionary<string, NetworkAttachment> Attachments { get; } = new(StringComparer.Ordinal);

    /// <summary>The epoch that each was last attached under, by uid.</summary>
    public SortedDictionary<string, Epoch> AttachedUnder { get; } = new(StringComparer.Ordinal);

    /// <summary>Called with each change of the runtime, in order, before the call that made it returns.</summary>
    public Action<FakeEffect>? Observer { get; set; }

    /// <summary>Called with the instance whose state changed; drivers pass it on as their hint.</summary>
    public event Action<InstanceId>? Changed;

    public DriverInstance? Find(InstanceId id)
    {
        lock (_gate)
        {
            return Instances.GetValueOrDefault(id.Value);
        }
    }

    public IReadOnlyList<DriverInstance> All()
    {
        lock (_gate)
        {
            return [.. Instances.Values];
        }
    }

    public void Create(InstanceDefinition definition)
    {
        var (id, assignment) = (definition.Id, definition.Assignment);
        var present = Find(id);
        Refuse(present, definition.Epoch);
        if (present is { State: DriverState.Running or DriverState.Paused })
        {
            return;
        }

        Put(new DriverInstance(
            id, definition.Epoch, assignment.Name, assignment.Project, assignment.Generation, assignment.Spec.RestartGeneration, DriverState.Created,
            MadeFrom: assignment), "create");
    }

    public void Start(InstanceId id, Epoch epoch)
    {
        var present = Require(id, epoch);
        if (present.State is DriverState.Running or DriverState.Paused)
        {
            return;
        }

        Put(present with { State = DriverState.Running, ProcessId = _nextProcess++, StartedAt = time.GetUtcNow(), FinishedAt = null, Exit = null }, "start");
    }

    public void Stop(InstanceId id, Epoch epoch, int signal)
    {
        var present = Require(id, epoch);
        if (present.State is DriverState.Running or DriverState.Paused)
        {
            Put(Ended(present, new ExitStatus { Code = 128 + signal, Signal = signal }), "stop");
        }
    }

    public void Pause(InstanceId id, Epoch epoch) => Move(id, epoch, DriverState.Running, DriverState.Paused, "pause");

    public void Resume(InstanceId id, Epoch epoch) => Move(id, epoch, DriverState.Paused, DriverState.Running, "resume");

    public void RaiseEpoch(InstanceId id, Epoch epoch)
    {
        var present = Require(id, epoch);
        if (present.Epoch < epoch)
        {
            Put(present with { Epoch = epoch }, "raise");
        }
    }

    public void Remove(InstanceId id, Epoch epoch)
    {
        var present = Find(id);
        Refuse(present, epoch);
        if (present is null)
        {
            return;
        }

        lock (_gate)
        {
            Instances.Remove(id.Value);
        }

        Observer?.Invoke(new FakeEffect(time.GetUtcNow(), "remove", id, epoch, null));
        Changed?.Invoke(id);
    }

    /// <summary>The process ends by itself.</summary>
    public void Exit(InstanceId id, ExitStatus exit)
    {
        if (Find(id) is { State: DriverState.Running or DriverState.Paused } present)
        {
            Put(Ended(present, exit), "exit");
        }
    }

    /// <summary>All processes are gone without an exit; what is on disk stays, what is in the kernel does not.</summary>
    public void Reboot()
    {
        foreach (var present in All().Where(instance => instance.State is DriverState.Running or DriverState.Paused))
        {
            Put(present with { State = DriverState.Stopped, ProcessId = null }, "reboot");
        }

        lock (_gate)
        {
            Attachments.Clear();
            AttachedUnder.Clear();
        }
    }

    /// <summary>Puts something into the runtime as if an earlier agent had made it.</summary>
    public void Plant(DriverInstance instance) => Put(instance, "plant");

    private static void Refuse(DriverInstance? present, Epoch epoch)
    {
        if (present is not null && present.Epoch > epoch)
        {
            throw new DriverException("StaleEpoch", $"Epoch {epoch.Value} is lower than {present.Epoch.Value}.", permanent: true);
        }
    }

    private DriverInstance Require(InstanceId id, Epoch epoch)
    {
        var present = Find(id) ?? throw new DriverException("NotCreated", $"Instance {id} is not on this machine.", permanent: false);
        Refuse(present, epoch);
        return present;
    }

    private DriverInstance Ended(DriverInstance present, ExitStatus exit) =>
        present with { State = DriverState.Stopped, ProcessId = null, FinishedAt = time.GetUtcNow(), Exit = exit };

    private void Move(InstanceId id, Epoch epoch, DriverState from, DriverState to, string what)
    {
        var present = Require(id, epoch);
        if (present.State == from)
        {
            Put(present with { State = to }, what);
        }
    }

    private void Put(DriverInstance instance, string what)
    {
        lock (_gate)
        {
            Instances[instance.Id.Value] = instance;
        }

        Observer?.Invoke(new FakeEffect(time.GetUtcNow(), what, instance.Id, instance.Epoch, instance));
        Changed?.Invoke(instance.Id);
    }
}

/// <summary>One change of a fake machine.</summary>
/// <param name="What">create, start, stop, pause, resume, raise, remove, exit, reboot or plant.</param>
/// <param name="After">Null once removed.</param>
internal readonly record struct FakeEffect(DateTimeOffset At, string What, InstanceId Id, Epoch Epoch, DriverInstance? After);
