using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Nodes;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Nodes;

/// <summary>A control plane that leads, with one Ready node that may report what nobody claims.</summary>
internal sealed class UnclaimedWorld : IAsyncDisposable
{
    private readonly ILeadership _leadership;

    private UnclaimedWorld(ControlPlane plane, NodeId node, ILeadership leadership)
    {
        (Plane, Node, _leadership) = (plane, node, leadership);
        Current = new CurrentTerm { Value = new LeaderTerm(leadership.Guard) };
        Adoption = new InstanceAdoption(plane.Reads, plane.Writer, plane.Incarnations, Current, plane.Placer, plane.Time);
        Purge = new InstancePurge(plane.Reads, plane.Writer, plane.Time);
    }

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    public ControlPlane Plane { get; }

    public NodeId Node { get; }

    public CurrentTerm Current { get; }

    public InstanceAdoption Adoption { get; }

    public InstancePurge Purge { get; }

    public static async Task<UnclaimedWorld> StartAsync()
    {
        var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("n1", Token);
        return new(plane, node, await plane.CampaignAsync(Token));
    }

    /// <summary>As an agent tells of it.</summary>
    public static UnclaimedInstance Copy(string name = "web", int number = 7) => new()
    {
        Uid = $"00000000-0000-4000-8000-{number:x12}",
        Name = name,
        Project = "default",
        Epoch = (1L << 48) + 5,
        Type = InstanceType.Container,
        State = InstanceState.Running,
        Generation = 3,
        Labels = { ["tier"] = "front" },
        Spec = SpecDefaults.Fill(new()
        {
            Type = InstanceType.Container,
            Image = "busybox",
            Resources = new() { MemoryBytes = 64 << 20 },
            RestartGeneration = 2,
            ImageDigest = "sha256:" + new string('a', 64),
        }),
    };

    public Task ReportAsync(params UnclaimedInstance[] copies) => ReportAsync(Node, copies);

    public Task ReportAsync(NodeId node, params UnclaimedInstance[] copies) =>
        Plane.Intake.ReportAsync(node, new() { Unclaimed = new() { Instances = { copies } } }, Token);

    public Task<Instance> AdoptAsync(string instance = "web", string requestId = "") =>
        Adoption.AdoptAsync(new() { Node = "n1", Instance = instance, RequestId = requestId }, Token);

    public Task<PurgeInstanceResponse> PurgeAsync(string instance = "web", string requestId = "") =>
        Purge.PurgeAsync(new() { Node = "n1", Instance = instance, RequestId = requestId }, Token);

    public static async Task<string> ReasonAsync(Func<Task> refused)
    {
        var error = await Assert.ThrowsAsync<RpcException>(refused);
        var info = error.GetRpcStatus()?.GetDetail<Google.Rpc.ErrorInfo>()?.Reason;
        return info ?? error.StatusCode.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        await _leadership.DisposeAsync();
        await Plane.DisposeAsync();
    }
}
