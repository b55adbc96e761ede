using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Groups;

/// <summary>GetGroup, ListGroups, ListGroupRevisions and ExplainGroup.</summary>
internal sealed class GroupQueries(ViewReads reads, PagedReads pages, IClusterStore store)
{
    public async Task<Group> GetAsync(GetGroupRequest request, CancellationToken cancellationToken)
    {
        var (view, entry) = await FindAsync(request.Project, request.Group, request.Consistency, cancellationToken);
        return GroupView.Render(entry, view.TallyOf(entry));
    }

    /// <summary>By project and name.</summary>
    public async Task<ListGroupsResponse> ListAsync(ListGroupsRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = request.Project == Projects.All ? null : Projects.Resolve(request.Project, violations);
        var selector = RequestChecks.Selector(request.LabelSelector, violations);
        var size = PagedReads.PageSize(request.PageSize, Limits.Api.MaxPage, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();

        var page = await pages.BeginAsync(
            request.PageToken, $"groups|{project ?? Projects.All}|{request.LabelSelector}", request.Consistency, cancellationToken);
        var prefix = project is null ? "" : project + "/";
        var matching = page.View.GroupsByName.Range(page.Start(prefix), prefix.Length == 0 ? null : RangeQuery.PrefixEnd(prefix))
            .Where(group => selector.Matches(group.Metadata.Labels))
            .Take(size + 1)
            .ToList();
        var response = new ListGroupsResponse();
        response.Groups.AddRange(matching.Take(size).Select(group => GroupView.Render(group, page.View.TallyOf(group))));
        response.List = pages.End(page, matching.Count > size ? matching[size - 1].ListKey : null);
        return response;
    }

    public async Task<ListGroupRevisionsResponse> RevisionsAsync(ListGroupRevisionsRequest request, CancellationToken cancellationToken)
    {
        var (view, entry) = await FindAsync(request.Project, request.Group, Consistency.Linearizable, cancellationToken);

        // Rarely asked for: they stay in the store.
        var found = await store.RangeAsync(RangeQuery.Prefix(Keys.GroupRevisions + entry.Uid + "/"), cancellationToken);
        var templates = found.Items.ToDictionary(item => item.Key, item => GroupRevisionRecord.Parser.ParseFrom(item.Value.Span).Template, StringComparer.Ordinal);
        var tally = view.TallyOf(entry);
        var response = new ListGroupRevisionsResponse();
        foreach (var mark in entry.Record.Revisions)
        {
            if (templates.TryGetValue(Keys.GroupRevision(entry.Uid, mark.Revision), out var template))
            {
                response.Revisions.Add(new GroupRevision
                {
                    Revision = mark.Revision,
                    Template = template,
                    WantedAt = mark.WantedAt,
                    Members = tally.Of(mark.Revision),
                });
            }
        }

        return response;
    }

    public async Task<GroupReceipt> ExplainAsync(ExplainGroupRequest request, CancellationToken cancellationToken)
    {
        var (view, entry) = await FindAsync(request.Project, request.Group, Consistency.Linearizable, cancellationToken);
        return GroupReceipts.Of(view, entry);
    }

    private async Task<(ClusterView View, GroupEntry Entry)> FindAsync(
        string project, string group, Consistency consistency, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var resolved = Projects.Resolve(project, violations);
        GroupAddress.Check(group, violations);
        RequestChecks.CheckConsistency(consistency, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(consistency, cancellationToken);
        return (view, GroupAddress.Resolve(view, resolved, group));
    }
}
