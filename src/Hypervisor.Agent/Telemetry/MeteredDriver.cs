using System.Diagnostics;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Telemetry;

/// <summary>Counts, times and traces every call of a driver.</summary>
internal sealed partial class MeteredDriver(
    IInstanceDriver driver, AgentMetrics metrics, TimeProvider time, ILogger<MeteredDriver> logger) : IInstanceDriver
{
    public InstanceType Type => driver.Type;

    public string Name => driver.Name;

    public bool LimitsWhileRunning => driver.LimitsWhileRunning;

    public ConnectionKind Connection => driver.Connection;

    public bool KeepsSnapshots => driver.KeepsSnapshots;

    public IInstanceAccess? Access => driver.Access;

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) =>
        MeasureAsync("probe", null, () => driver.ProbeAsync(cancellationToken));

    public Task<IReadOnlyList<DriverInstance>> ListAsync(CancellationToken cancellationToken) =>
        MeasureAsync("list", null, () => driver.ListAsync(cancellationToken));

    public Task<DriverInstance?> GetAsync(InstanceId id, CancellationToken cancellationToken) =>
        MeasureAsync("get", id.Value, () => driver.GetAsync(id, cancellationToken));

    public Task CreateAsync(InstanceDefinition definition, CancellationToken cancellationToken) =>
        MeasureAsync("create", definition.Id.Value, () => driver.CreateAsync(definition, cancellationToken));

    public Task StartAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("start", id.Value, () => driver.StartAsync(id, epoch, cancellationToken));

    public Task StopAsync(InstanceId id, Epoch epoch, StopPolicy policy, CancellationToken cancellationToken) =>
        MeasureAsync("stop", id.Value, () => driver.StopAsync(id, epoch, policy, cancellationToken));

    public Task PauseAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("pause", id.Value, () => driver.PauseAsync(id, epoch, cancellationToken));

    public Task ResumeAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("resume", id.Value, () => driver.ResumeAsync(id, epoch, cancellationToken));

    public Task SuspendAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("suspend", id.Value, () => driver.SuspendAsync(id, epoch, cancellationToken));

    public Task SnapshotAsync(InstanceId id, Epoch epoch, SnapshotSpec snapshot, CancellationToken cancellationToken) =>
        MeasureAsync("snapshot", id.Value, () => driver.SnapshotAsync(id, epoch, snapshot, cancellationToken));

    public Task DeleteSnapshotAsync(InstanceId id, Epoch epoch, string snapshotUid, CancellationToken cancellationToken) =>
        MeasureAsync("delete_snapshot", id.Value, () => driver.DeleteSnapshotAsync(id, epoch, snapshotUid, cancellationToken));

    public Task RestoreAsync(InstanceId id, Epoch epoch, RestoreSpec restore, CancellationToken cancellationToken) =>
        MeasureAsync("restore", id.Value, () => driver.RestoreAsync(id, epoch, restore, cancellationToken));

    public Task LimitAsync(InstanceId id, Epoch epoch, InstanceLimits limits, CancellationToken cancellationToken) =>
        MeasureAsync("limit", id.Value, () => driver.LimitAsync(id, epoch, limits, cancellationToken));

    public Task RaiseEpochAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("raise_epoch", id.Value, () => driver.RaiseEpochAsync(id, epoch, cancellationToken));

    public Task RemoveAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        MeasureAsync("remove", id.Value, () => driver.RemoveAsync(id, epoch, cancellationToken));

    public IAsyncEnumerable<InstanceId> WatchAsync(CancellationToken cancellationToken) => driver.WatchAsync(cancellationToken);

    private Task<bool> MeasureAsync(string call, string uid, Func<Task> work) => MeasureAsync(call, uid, async () =>
    {
        await work();
        return true;
    });

    private async Task<T> MeasureAsync<T>(string call, string? uid, Func<Task<T>> work)
    {
        using var span = AgentTraces.Part($"{driver.Name} {call}");
        var begun = time.GetTimestamp();
        var outcome = "ok";
        try
        {
            return await work();
        }
        catch (Exception failure)
        {
            outcome = failure switch
            {
                DriverException { Permanent: true } => "refused",
                OperationCanceledException => "cancelled",
                _ => "failed",
            };
            span?.SetStatus(ActivityStatusCode.Error, failure.Message);
            throw;
        }
        finally
        {
            var took = time.GetElapsedTime(begun);
            metrics.Called(driver.Name, call, outcome, took);
            if (uid is not null)
            {
                LogCall(driver.Name, call, uid, outcome, took.TotalMilliseconds);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "{Driver} {Call} of {Instance}: {Outcome} after {Milliseconds} ms")]
    private partial void LogCall(string driver, string call, string instance, string outcome, double milliseconds);
}
