using System.Runtime.CompilerServices;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Groups;

/// <summary>WatchGroups.</summary>
internal sealed class GroupWatch(WatchHub watches, ViewReads reads)
{
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT; NOT_FOUND for a single group that is not there; OUT_OF_RANGE as all watches.</exception>
    public async IAsyncEnumerable<WatchGroupsResponse> RunAsync(WatchGroupsRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = request.Project == Projects.All ? null : Projects.Resolve(request.Project, violations);
        var selector = RequestChecks.Selector(request.LabelSelector, violations);
        RequestChecks.CheckVersion(request.ResourceVersion, violations);
        if (request.Group.Length > 0)
        {
            GroupAddress.Check(request.Group, violations);
            if (project is null)
            {
                violations.Add("group", "needs one project: '-' and a single group do not go together.");
            }
        }

        violations.ThrowIfAny();
        var only = request.Group.Length > 0
            ? GroupAddress.Resolve(await reads.ViewAsync(Consistency.Linearizable, cancellationToken), project!, request.Group).Uid
            : null;
        var set = new WatchedSet<ShownGroup>(
            view => view.Groups.Select(group => new ShownGroup(group, view.TallyOf(group))),
            change => change.ShownGroups,
            shown => (only is null || shown.Group.Uid == only) && (project is null || shown.Group.Project == project) && selector.Matches(shown.Group.Metadata.Labels),
            shown => shown.Group.ResourceVersion);
        await foreach (var item in watches.FollowAsync(set, new(request.ResourceVersion), cancellationToken))
        {
            var response = new WatchGroupsResponse { Type = item.Type, ResourceVersion = item.Position.Value };
            if (item.Entry is { } shown)
            {
                response.Group = GroupView.Render(shown.Group, shown.Tally);
                response.Group.Metadata.ResourceVersion = item.ObjectVersion.Value;
            }

            yield return response;
        }
    }
}
