using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances.Snapshots;

/// <summary>A replica with a microVM "web" on node n1 under epoch 1, and what its node would report.</summary>
internal sealed class SnapshotWorld : IAsyncDisposable
{
    private SnapshotWorld(Replica replica, string uid) => (Replica, Uid) = (replica, uid);

    public Replica Replica { get; }

    public string Uid { get; }

    public Instance Web => Hypervisor.Server.State.InstanceView.Render(Replica.State.View.InstanceByName("default", "web")!);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static async Task<SnapshotWorld> StartAsync(InstanceType type = InstanceType.Microvm, bool placed = true)
    {
        var replica = await Replica.StartAsync();
        var web = await replica.CreateAsync("web", more: request =>
        {
            request.Spec.Type = type;
            request.Spec.Network = new() { Ports = { new PublishedPort { HostPort = 8080, InstancePort = 80 } } };
        });
        if (placed)
        {
            await replica.AddNodeAsync("n1", "alpha");
            await replica.WriteAsync(Replica.Place(web.Metadata.Uid, "n1", 1));
        }

        return new(replica, web.Metadata.Uid);
    }

    public async Task ReportAsync(long restored = 0, SnapshotState state = SnapshotState.Ready)
    {
        var status = new InstanceStatus { State = InstanceState.Running, ObservedEpoch = 1, ObservedGeneration = 1, ObservedRestoreGeneration = restored };
        status.Snapshots.Add(Web.Spec.Snapshots.Select(snapshot => new SnapshotStatus
        {
            Uid = snapshot.Uid,
            State = state,
            Memory = snapshot.Memory,
            Reason = state == SnapshotState.Failed ? "DiskFull" : "",
            Message = "the disk is full",
        }));
        await Replica.WriteAsync(new StoreOperation.Put(Keys.Status(new(Uid)), new StatusRecord { Status = status }.ToByteArray()));
    }

    public Task<Instance> Create(string name, bool memory = false, string requestId = "", string instance = "web") => Replica.Instances.Snapshots.CreateAsync(
        new() { Instance = instance, Name = name, Memory = memory, RequestId = requestId }, Cancellation);

    public Task<Instance> Delete(string name) => Replica.Instances.Snapshots.DeleteAsync(new() { Instance = "web", Snapshot = name }, Cancellation);

    public Task<Instance> Restore(string name, string requestId = "") =>
        Replica.Instances.Snapshots.RestoreAsync(new() { Instance = "web", Snapshot = name, RequestId = requestId }, Cancellation);

    public Task<Instance> Stop() => Replica.Instances.Power.StopAsync(new() { Instance = "web" }, Cancellation);

    public Task<Instance> Clone(string name, string snapshot = "", string requestId = "") => Replica.Instances.Cloning.CloneAsync(
        new() { Instance = "web", Name = name, Snapshot = snapshot, RequestId = requestId }, Cancellation);

    /// <summary>Reason of the refusal, and what it says.</summary>
    public static async Task<(string Reason, string Message)> RefusedAsync(Func<Task> call, StatusCode code = StatusCode.FailedPrecondition)
    {
        var error = await Assert.ThrowsAsync<RpcException>(call);
        Assert.Equal(code, error.StatusCode);
        return (error.GetRpcStatus()?.GetDetail<Google.Rpc.ErrorInfo>()?.Reason ?? "", error.Status.Detail);
    }

    public ValueTask DisposeAsync() => Replica.DisposeAsync();
}
