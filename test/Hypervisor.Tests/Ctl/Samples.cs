using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Ctl;

internal static class Samples
{
    public static Instance Instance(string name, InstanceState state, string reason = "", long version = 10, long generation = 1, long observed = 1) => new()
    {
        Metadata = new()
        {
            Name = name,
            Project = "default",
            Uid = $"uid-{name}",
            Generation = generation,
            ResourceVersion = version,
            CreatedAt = Timestamp.FromDateTimeOffset(CtlRun.Now - TimeSpan.FromMinutes(5)),
        },
        Spec = new()
        {
            Type = InstanceType.Container,
            Image = "busybox",
            Resources = new() { CpuMillicores = 500, MemoryBytes = 512L << 20 },
            DesiredState = DesiredState.Running,
        },
        Placement = new() { Node = state == InstanceState.Pending ? "" : "n1" },
        Status = new()
        {
            State = state,
            Reason = reason,
            ObservedGeneration = observed,
            IpAddresses = { state == InstanceState.Running ? ["10.88.0.5"] : System.Array.Empty<string>() },
        },
    };

    public static WatchInstancesResponse Change(WatchEventType type, Instance instance) =>
        new() { Type = type, Instance = instance, ResourceVersion = instance.Metadata.ResourceVersion };

    /// <summary>Keeps a stream open until the client leaves.</summary>
    public static async Task UntilCancelledAsync(CancellationToken token)
    {
        var cancelled = new TaskCompletionSource();
        await using var registration = token.Register(() => cancelled.TrySetCanceled(token));
        await cancelled.Task;
    }

    public static WatchInstancesResponse Bookmark(long version) => new() { Type = WatchEventType.Bookmark, ResourceVersion = version };
}
