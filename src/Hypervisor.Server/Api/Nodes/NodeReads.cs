using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>GetNode and ListNodes.</summary>
internal sealed class NodeReads(ViewReads reads, PagedReads pages)
{
    public async Task<Node> GetAsync(GetNodeRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        return NodeView.Render(NodeReferences.Resolve(view, request.Node));
    }

    /// <summary>By name, all pages as of one revision.</summary>
    public async Task<ListNodesResponse> ListAsync(ListNodesRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var selector = RequestChecks.Selector(request.LabelSelector, violations);
        var size = PagedReads.PageSize(request.PageSize, Limits.Api.MaxPage, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();

        var liveness = request.Liveness.Order().ToList();
        var page = await pages.BeginAsync(
            request.PageToken, $"nodes|{request.LabelSelector}|{string.Join(',', liveness)}", request.Consistency, cancellationToken);
        var matching = page.View.Nodes
            .SkipWhile(node => page.AfterKey is not null && string.CompareOrdinal(node.Name, page.AfterKey) <= 0)
            .Where(node => selector.Matches(node.Labels) && (liveness.Count == 0 || liveness.Contains(node.Liveness)))
            .Take(size + 1)
            .ToList();
        var response = new ListNodesResponse();
        response.Nodes.AddRange(matching.Take(size).Select(NodeView.Render));
        response.List = pages.End(page, matching.Count > size ? matching[size - 1].Name : null);
        return response;
    }
}
