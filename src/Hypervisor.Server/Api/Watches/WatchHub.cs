using System.Runtime.CompilerServices;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Watches;

/// <summary>The watches that clients hold, counted and bounded.</summary>
internal sealed class WatchHub(ClusterState state, ViewReads reads, TimeProvider time)
{
    private readonly EventEncoder _encoder = new();
    private int _watches;

    /// <summary>Watches held now.</summary>
    public int Watches => Volatile.Read(ref _watches);

    public IAsyncEnumerable<WatchInstancesResponse> InstancesAsync(WatchInstancesRequest request, CancellationToken cancellationToken) =>
        InstancesAsync(request, EventEncoder.Render, cancellationToken);

    /// <summary>The same as it travels over gRPC.</summary>
    public IAsyncEnumerable<EncodedEvent> EncodedInstancesAsync(WatchInstancesRequest request, CancellationToken cancellationToken) =>
        InstancesAsync(request, _encoder.Encode, cancellationToken);

    public async IAsyncEnumerable<WatchNodesResponse> NodesAsync(
        WatchNodesRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var labels = RequestChecks.Selector(request.LabelSelector, violations);
        RequestChecks.CheckVersion(request.ResourceVersion, violations);
        violations.ThrowIfAny();
        using var held = Hold();
        var set = new WatchedSet<NodeEntry>(
            view => view.Nodes,
            change => change.Nodes,
            entry => labels.Matches(entry.Labels),
            entry => entry.ResourceVersion);
        await foreach (var item in new ObjectWatch<NodeEntry>(state, reads, time, set).RunAsync(new(request.ResourceVersion), cancellationToken))
        {
            var response = new WatchNodesResponse { Type = item.Type, ResourceVersion = item.Position.Value };
            if (item.Entry is { } entry)
            {
                response.Node = NodeView.Render(entry);
                response.Node.Metadata.ResourceVersion = item.ObjectVersion.Value;
            }

            yield return response;
        }
    }

    /// <summary>Follows a set of other objects, counted among the watches.</summary>
    public async IAsyncEnumerable<WatchItem<TEntry>> FollowAsync<TEntry>(
        WatchedSet<TEntry> set, ResourceVersion from, [EnumeratorCancellation] CancellationToken cancellationToken)
        where TEntry : class
    {
        using var held = Hold();
        await foreach (var item in new ObjectWatch<TEntry>(state, reads, time, set).RunAsync(from, cancellationToken))
        {
            yield return item;
        }
    }

    private async IAsyncEnumerable<TEvent> InstancesAsync<TEvent>(
        WatchInstancesRequest request, Func<WatchItem<InstanceEntry>, bool, TEvent> tell, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var filter = InstanceFilter.Parse(request.Project, request.LabelSelector, request.States, request.Types_, request.Node, violations);
        var summary = RequestChecks.IsSummary(request.View, violations);
        RequestChecks.CheckVersion(request.ResourceVersion, violations);
        if (request.Instance.Length > 0 && filter.Project is null)
        {
            violations.Add("instance", "needs one project: '-' and a single instance do not go together.");
        }

        violations.ThrowIfAny();
        if (request.Instance.Length > 0)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            filter = filter with { Only = InstanceAddress.ResolveForWatch(view, filter.Project!, request.Instance) };
        }

        using var held = Hold();
        var set = new WatchedSet<InstanceEntry>(
            view => filter switch
            {
                { Only: { } only } => view.Instance(only) is { } entry ? [entry] : [],
                { Project: { } project } => view.InstancesOf(project),
                _ => view.Instances,
            },
            change => change.Instances,
            filter.Matches,
            entry => entry.ResourceVersion);
        await foreach (var item in new ObjectWatch<InstanceEntry>(state, reads, time, set).RunAsync(new(request.ResourceVersion), cancellationToken))
        {
            yield return tell(item, summary);
        }
    }

    private Held Hold()
    {
        if (Interlocked.Increment(ref _watches) > Limits.Api.Watches)
        {
            Interlocked.Decrement(ref _watches);
            throw ApiErrors.ResourceExhausted(
                $"This server holds {Limits.Api.Watches} watches already; try again later or ask another server.", Limits.Api.RetryUnavailable);
        }

        return new(this);
    }

    private sealed class Held(WatchHub hub) : IDisposable
    {
        public void Dispose() => Interlocked.Decrement(ref hub._watches);
    }
}
