using System.Runtime.CompilerServices;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>A driver that runs nothing: for tests, for the simulation, and for an agent started with --fake-driver.</summary>
internal sealed class FakeDriver(FakeMachine machine, FakeFaults faults, InstanceType type = InstanceType.Container) : IInstanceDriver
{
    /// <summary>More hints than this at once are dropped, as a real runtime's event stream may drop them.</summary>
    private const int PendingHints = 1024;

    public InstanceType Type => type;

    public string Name => "fake";

    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        try
        {
            await faults.PassAsync(nameof(ProbeAsync), cancellationToken);
            return new RuntimeInfo { Type = type, Driver = Name, Version = "1", Available = true, Message = "Runs nothing; for tests." };
        }
        catch (DriverException failure)
        {
            return new RuntimeInfo { Type = type, Driver = Name, Message = failure.Message };
        }
    }

    public async Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(ListAsync), cancellationToken);
        return machine.All();
    }

    public async Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(GetAsync), cancellationToken);
        return machine.Find(id);
    }

    public async Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(CreateAsync), cancellationToken);
        machine.Create(definition);
    }

    public async Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(StartAsync), cancellationToken);
        machine.Start(id, epoch);
    }

    public async Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(StopAsync), cancellationToken);
        machine.Stop(id, epoch, policy.Signal == 0 ? 15 : policy.Signal);
    }

    public async Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(PauseAsync), cancellationToken);
        machine.Pause(id, epoch);
    }

    public async Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(ResumeAsync), cancellationToken);
        machine.Resume(id, epoch);
    }

    public async Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(RaiseEpochAsync), cancellationToken);
        machine.RaiseEpoch(id, epoch);
    }

    public async Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        await faults.PassAsync(nameof(RemoveAsync), cancellationToken);
        machine.Remove(id, epoch);
    }

    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var hints = new Queue<InstanceId>();
        var more = new Signal();
        void Pass(InstanceId id)
        {
            lock (hints)
            {
                if (hints.Count < PendingHints)
                {
                    hints.Enqueue(id);
                }
            }

            more.Set();
        }

        machine.Changed += Pass;
        try
        {
            await faults.PassAsync(nameof(WatchAsync), cancellationToken);

            while (true)
            {
                while (Next() is { } id)
                {
                    yield return id;
                }

                await more.WaitAsync(cancellationToken);
            }
        }
        finally
        {
            machine.Changed -= Pass;
        }

        InstanceId? Next()
        {
            lock (hints)
            {
                return hints.TryDequeue(out var id) ? id : null;
            }
        }
    }
}
