using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>GetInstance, ListInstances and ExplainInstance.</summary>
internal sealed class InstanceQueries(ViewReads reads, PagedReads pages, IClusterStore store)
{
    public async Task<Instance> GetAsync(GetInstanceRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        InstanceAddress.Check(request.Instance, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        return InstanceView.Render(InstanceAddress.Resolve(view, project, request.Instance));
    }

    /// <summary>By project and name.</summary>
    public async Task<ListInstancesResponse> ListAsync(ListInstancesRequest request, CancellationToken cancellationToken)
    {
        var (entries, summary, list) = await SelectAsync(request, cancellationToken);
        var response = new ListInstancesResponse { List = list };
        response.Instances.AddRange(entries.Select(entry => summary ? InstanceView.RenderSummary(entry) : InstanceView.Render(entry)));
        return response;
    }

    /// <summary>The same as it travels over gRPC.</summary>
    public async Task<EncodedInstances> ListEncodedAsync(ListInstancesRequest request, CancellationToken cancellationToken)
    {
        var (entries, summary, list) = await SelectAsync(request, cancellationToken);
        return new(entries.ConvertAll(entry => summary ? entry.EncodeSummary() : InstanceView.Render(entry).ToByteArray()), list);
    }

    public async Task<PlacementReceipt> ExplainAsync(ExplainInstanceRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        InstanceAddress.Check(request.Instance, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var entry = InstanceAddress.Resolve(view, project, request.Instance);

        var receipt = entry.PlacementRecord is { Receipt.Length: > 0 } placement
            ? Receipts.Expand(CompactReceipt.Parser.ParseFrom(placement.Receipt), entry.Epoch.Value)
            : await StoredReceiptAsync(entry, cancellationToken);
        if (receipt is not null)
        {
            receipt.InstanceUid = entry.Id.Value;
        }

        return receipt ?? new()
        {
            InstanceUid = entry.Id.Value,
            Epoch = entry.Epoch.Value,
            Node = entry.Node?.Name ?? "",
            Message = entry.Deleting
                ? "The instance is being deleted; no decision about it is held."
                : "No placement decision was made yet: the controllers have not come to it, or no server leads at the moment.",
        };
    }

    /// <summary>Of one that waits, was adopted, or was placed by an earlier server. Rarely asked for: they stay in the store.</summary>
    private async Task<PlacementReceipt?> StoredReceiptAsync(InstanceEntry entry, CancellationToken cancellationToken)
    {
        var found = await store.RangeAsync(RangeQuery.Single(Keys.Receipt(entry.Id)), cancellationToken);
        if (found.Items.Count == 0)
        {
            return null;
        }

        var kept = ReceiptRecord.Parser.ParseFrom(found.Items[0].Value.Span);
        if (kept.Placed is { } placed)
        {
            return Receipts.Expand(placed, entry.Epoch.Value);
        }

        // Why it waited before it had the node that it has left since says nothing about now.
        return kept.Receipt is { Node.Length: 0 } old && old.Epoch < entry.Epoch.Value ? null : kept.Receipt;
    }

    private async Task<(List<InstanceEntry> Entries, bool Summary, ListMeta List)> SelectAsync(
        ListInstancesRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var filter = InstanceFilter.Parse(request.Project, request.LabelSelector, request.States, request.Types_, request.Node, violations);
        var size = PagedReads.PageSize(request.PageSize, Limits.Api.MaxInstancePage, violations);
        var summary = RequestChecks.IsSummary(request.View, violations);
        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();

        var page = await pages.BeginAsync(request.PageToken, filter.Fingerprint(request.LabelSelector), request.Consistency, cancellationToken);
        var prefix = filter.Project is null ? "" : filter.Project + "/";

        // In one piece of its final size: the largest page's is just small enough not to be a large object for the collector.
        var entries = new List<InstanceEntry>(Math.Min(size, page.View.InstanceCount));
        var more = false;
        foreach (var entry in page.View.InstancesByName.Range(page.Start(prefix), prefix.Length == 0 ? null : RangeQuery.PrefixEnd(prefix)))
        {
            if (!filter.Matches(entry))
            {
                continue;
            }

            if (entries.Count == size)
            {
                more = true;
                break;
            }

            entries.Add(entry);
        }

        return (entries, summary, pages.End(page, more ? entries[^1].ListKey : null));
    }
}
