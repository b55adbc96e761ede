using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Groups;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api;

internal sealed class GroupService(GroupOperations groups, GroupWatch watch, ViewReads reads, TimeProvider time) : Protocol.V1.GroupService.GroupServiceBase
{
    public override Task<Group> CreateGroup(CreateGroupRequest request, ServerCallContext context) =>
        groups.Creation.CreateAsync(request, context.CancellationToken);

    public override Task<Group> UpdateGroup(UpdateGroupRequest request, ServerCallContext context) =>
        groups.Updates.UpdateAsync(request, context.CancellationToken);

    public override Task<Group> ScaleGroup(ScaleGroupRequest request, ServerCallContext context) =>
        groups.Updates.ScaleAsync(request, context.CancellationToken);

    public override Task<Group> RollBackGroup(RollBackGroupRequest request, ServerCallContext context) =>
        groups.Updates.RollBackAsync(request, context.CancellationToken);

    public override Task<Group> DeleteGroup(DeleteGroupRequest request, ServerCallContext context) =>
        groups.Updates.DeleteAsync(request, context.CancellationToken);

    public override Task<Group> GetGroup(GetGroupRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, reads, () => groups.Queries.GetAsync(request, context.CancellationToken));

    public override Task<ListGroupsResponse> ListGroups(ListGroupsRequest request, ServerCallContext context) =>
        groups.Queries.ListAsync(request, context.CancellationToken);

    public override Task WatchGroups(WatchGroupsRequest request, IServerStreamWriter<WatchGroupsResponse> responseStream, ServerCallContext context) =>
        WatchDelivery.WriteAsync(watch.RunAsync(request, context.CancellationToken), responseStream, time, context.CancellationToken);

    public override Task<ListGroupRevisionsResponse> ListGroupRevisions(ListGroupRevisionsRequest request, ServerCallContext context) =>
        groups.Queries.RevisionsAsync(request, context.CancellationToken);

    public override Task<GroupReceipt> ExplainGroup(ExplainGroupRequest request, ServerCallContext context) =>
        groups.Queries.ExplainAsync(request, context.CancellationToken);
}
