using Hypervisor.Ctl.Commands;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

/// <summary>The watches of the API.</summary>
internal static class Watches
{
    public static ObjectWatch<WatchInstancesResponse, Instance> Instances(Invocation invocation, WatchInstancesRequest request) => new(
        invocation.Connection,
        invocation.Environment.Time,
        invocation.Environment.Random,
        (version, options) => invocation.Compute.WatchInstances(new(request) { ResourceVersion = version }, options),
        message => new(message.Type, message.Instance, message.ResourceVersion, message));

    public static ObjectWatch<WatchNodesResponse, Node> Nodes(Invocation invocation, WatchNodesRequest request) => new(
        invocation.Connection,
        invocation.Environment.Time,
        invocation.Environment.Random,
        (version, options) => invocation.Cluster.WatchNodes(new(request) { ResourceVersion = version }, options),
        message => new(message.Type, message.Node, message.ResourceVersion, message));

    public static ObjectWatch<WatchGroupsResponse, Group> Groups(Invocation invocation, WatchGroupsRequest request) => new(
        invocation.Connection,
        invocation.Environment.Time,
        invocation.Environment.Random,
        (version, options) => invocation.Groups.WatchGroups(new(request) { ResourceVersion = version }, options),
        message => new(message.Type, message.Group, message.ResourceVersion, message));

    public static ObjectWatch<WatchEventsResponse, Event> Events(Invocation invocation, WatchEventsRequest request) => new(
        invocation.Connection,
        invocation.Environment.Time,
        invocation.Environment.Random,
        (version, options) => invocation.Cluster.WatchEvents(new(request) { ResourceVersion = version }, options),
        message => new(message.Type, message.Event, message.ResourceVersion, message));
}
