using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Simulation.Scenarios;

/// <summary>A driver with a bug planted by who derives from it.</summary>
internal abstract class PlantedDriver(IInstanceDriver driver) : IInstanceDriver
{
    public InstanceType Type => driver.Type;

    public string Name => driver.Name;

    public virtual Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken) => driver.ListAsync(cancellationToken);

    public virtual Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken) => driver.GetAsync(id, cancellationToken);

    public virtual Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.RemoveAsync(id, epoch, cancellationToken);

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => driver.ProbeAsync(cancellationToken);

    public virtual Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken) => driver.CreateAsync(definition, cancellationToken);

    public Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.StartAsync(id, epoch, cancellationToken);

    public virtual Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken) =>
        driver.StopAsync(id, epoch, policy, cancellationToken);

    public Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.PauseAsync(id, epoch, cancellationToken);

    public Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.ResumeAsync(id, epoch, cancellationToken);

    public Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) => driver.RaiseEpochAsync(id, epoch, cancellationToken);

    public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => driver.WatchAsync(cancellationToken);
}

/// <summary>Removes what is there at its first look.</summary>
internal sealed class CleaningDriver(IInstanceDriver driver) : PlantedDriver(driver)
{
    private bool _cleaned;

    public override async Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken)
    {
        if (!_cleaned)
        {
            _cleaned = true;
            foreach (var instance in await base.ListAsync(cancellationToken))
            {
                await RemoveAsync(instance.Id, instance.Epoch, cancellationToken);
            }
        }

        return await base.ListAsync(cancellationToken);
    }
}

/// <summary>Runs everything under the first epoch that it saw of it, on whatever machine.</summary>
internal sealed class ClingingDriver(IInstanceDriver driver, Dictionary<InstanceId, Epoch> first) : PlantedDriver(driver)
{
    public override Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken)
    {
        first.TryAdd(definition.Id, definition.Epoch);
        var assignment = definition.Assignment.Clone();
        assignment.Epoch = first[definition.Id].Value;
        return base.CreateAsync(definition with { Assignment = assignment }, cancellationToken);
    }
}

/// <summary>Never comes back from stopping, and has stopped nothing.</summary>
internal sealed class HangingDriver(IInstanceDriver driver) : PlantedDriver(driver)
{
    public override async Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken)
    {
        var never = new TaskCompletionSource();
        await using var cancelled = cancellationToken.UnsafeRegister(_ => never.TrySetCanceled(cancellationToken), null);
        await never.Task;
    }
}

/// <summary>Shows nothing any more of what it was to remove, and does not remove it.</summary>
internal sealed class HidingDriver(IInstanceDriver driver) : PlantedDriver(driver)
{
    private readonly HashSet<InstanceId> _hidden = [];

    public override async Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken) =>
        [.. (await base.ListAsync(cancellationToken)).Where(instance => !_hidden.Contains(instance.Id))];

    public override async Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken) =>
        _hidden.Contains(id) ? null : await base.GetAsync(id, cancellationToken);

    public override Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken)
    {
        _hidden.Add(id);
        return Task.CompletedTask;
    }
}
