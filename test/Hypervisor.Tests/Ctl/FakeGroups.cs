using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Ctl;

/// <summary>A GroupService that answers what a test told it to, and records what it got.</summary>
internal sealed class FakeGroups : GroupService.GroupServiceBase
{
    public List<Google.Protobuf.IMessage> Requests { get; } = [];

    public Func<string, Group> OnChange { get; set; } = _ => throw new RpcException(new(StatusCode.Unimplemented, "the test set no answer"));

    public Func<string, Group> OnGet { get; set; } = _ => throw new RpcException(new(StatusCode.Unimplemented, "the test set no answer"));

    public IReadOnlyList<Group> Listed { get; set; } = [];

    public IReadOnlyList<GroupRevision> Revisions { get; set; } = [];

    public GroupReceipt Receipt { get; set; } = new();

    public Func<WatchGroupsRequest, Func<WatchGroupsResponse, Task>, Task> OnWatch { get; set; } =
        (_, _) => throw new RpcException(new(StatusCode.Unimplemented, "the test set no answer"));

    public override Task WatchGroups(WatchGroupsRequest request, IServerStreamWriter<WatchGroupsResponse> responseStream, ServerCallContext context) =>
        OnWatch(request, responseStream.WriteAsync);

    public override Task<Group> CreateGroup(CreateGroupRequest request, ServerCallContext context) => Changed(request, request.Name);

    public override Task<Group> UpdateGroup(UpdateGroupRequest request, ServerCallContext context) => Changed(request, "web");

    public override Task<Group> ScaleGroup(ScaleGroupRequest request, ServerCallContext context) => Changed(request, request.Group);

    public override Task<Group> RollBackGroup(RollBackGroupRequest request, ServerCallContext context) => Changed(request, request.Group);

    public override Task<Group> DeleteGroup(DeleteGroupRequest request, ServerCallContext context) => Changed(request, request.Group);

    public override Task<Group> GetGroup(GetGroupRequest request, ServerCallContext context) =>
        Task.FromResult(OnGet(request.Group.StartsWith("uid-", StringComparison.Ordinal) ? request.Group["uid-".Length..] : request.Group));

    public override Task<ListGroupsResponse> ListGroups(ListGroupsRequest request, ServerCallContext context) =>
        Task.FromResult(new ListGroupsResponse { Groups = { Listed }, List = new() });

    public override Task<ListGroupRevisionsResponse> ListGroupRevisions(ListGroupRevisionsRequest request, ServerCallContext context) =>
        Task.FromResult(new ListGroupRevisionsResponse { Revisions = { Revisions } });

    public override Task<GroupReceipt> ExplainGroup(ExplainGroupRequest request, ServerCallContext context) => Task.FromResult(Receipt);

    private Task<Group> Changed(Google.Protobuf.IMessage request, string name)
    {
        Requests.Add(request);
        return Task.FromResult(OnChange(name));
    }
}
