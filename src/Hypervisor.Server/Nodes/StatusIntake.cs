using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Nodes;

/// <summary>
/// Takes what an agent observed into the store: for the placement that it names and for no other. What the store holds
/// already is not written again.
/// </summary>
internal sealed class StatusIntake(ViewReads reads, ClusterState state, StoreWriter writer, TimeProvider time)
{
    /// <param name="node">Whose agent calls, already authenticated.</param>
    /// <returns>Once everything written is in this replica's view.</returns>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT above the bounds.</exception>
    /// <exception cref="StoreUnavailableException">Parts may have been written; the agent reports again.</exception>
    public async Task<ReportStatusResponse> ReportAsync(NodeId node, ReportStatusRequest request, CancellationToken cancellationToken)
    {
        Check(request);

        // An agent may report twice on one instance in a batch; the later one counts, for both.
        var latest = request.Reports.GroupBy(report => report.Uid).Select(group => group.Last()).ToList();
        var reports = Task.WhenAll(latest.Select(report => ReportAsync(node, report, cancellationToken)));
        var removals = Task.WhenAll(request.Removed.Select(removal => FinishRemovalAsync(node, removal, cancellationToken)));
        var unclaimed = request.Unclaimed is { } list ? ReplaceUnclaimedAsync(node, list, cancellationToken) : Task.CompletedTask;
        await Task.WhenAll(reports, removals, unclaimed);

        var results = latest.Zip(await reports).ToDictionary(pair => pair.First.Uid, pair => pair.Second);
        var response = new ReportStatusResponse();
        response.Results.AddRange(request.Reports.Select(report => results[report.Uid]));
        return response;
    }

    private async Task<ReportResult> ReportAsync(NodeId node, StatusReport report, CancellationToken cancellationToken)
    {
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            if (state.View.Instance(new(report.Uid)) is not { } instance)
            {
                return ReportResult.Unknown;
            }

            if (report.Epoch > instance.Epoch.Value)
            {
                // Not stale but ahead: this replica has not seen the placement yet.
                return ReportResult.Retry;
            }

            if (instance.NodeId != node || report.Epoch != instance.Epoch.Value)
            {
                return ReportResult.Stale;
            }

            var record = new StatusRecord { Status = ReportedStatus.Bounded(report) };
            if (record.Equals(instance.StatusRecord))
            {
                return ReportResult.Accepted;
            }

            var result = await writer.WriteAsync(
                new(
                    [
                        Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision),
                        Compare.Modified(Keys.Status(instance.Id), instance.StatusRevision),
                    ],
                    [new StoreOperation.Put(Keys.Status(instance.Id), record.ToByteArray())]),
                cancellationToken);
            await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return ReportResult.Accepted;
            }
        }

        return ReportResult.Retry;
    }

    /// <summary>Nothing is left on the node: the last step of a deletion or an eviction. Repeating it finds it done.</summary>
    private async Task FinishRemovalAsync(NodeId node, Removal removal, CancellationToken cancellationToken)
    {
        var id = new InstanceId(removal.Uid);
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            var view = state.View;
            StoreWrite write;
            if (view.Instance(id) is { } instance)
            {
                // Another node's instance, a later placement, or one that is to stay: the acknowledgement is of the past.
                if (!(instance.Deleting || instance.IsEvicted) || instance.NodeId != node || instance.Epoch.Value != removal.Epoch)
                {
                    return;
                }

                write = instance.Deleting ? InstanceRemoval.Write(instance, time.GetUtcNow(), []) : Evictions.Finish(instance);
            }
            else if (view.Tombstone(id) is { } tombstone && Settled(tombstone.Record, node, removal.Epoch) is { } record)
            {
                write = new(
                    [Compare.Modified(Keys.Tombstone(id), tombstone.ModRevision)],
                    [new StoreOperation.Put(Keys.Tombstone(id), record.ToByteArray())]);
            }
            else
            {
                return;
            }

            var result = await writer.WriteAsync(write, cancellationToken);
            await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return;
            }
        }

        throw ApiErrors.Aborted("INSTANCE_CHANGING", $"Instance {removal.Uid} kept changing while its removal was recorded; report again.");
    }

    /// <summary>The tombstone without what the node has done; null when that changes nothing.</summary>
    private static TombstoneRecord? Settled(TombstoneRecord tombstone, NodeId node, long epoch)
    {
        var record = tombstone.Clone();
        record.PendingNodeUids.Remove(node.Value);
        if (record.Purges.TryGetValue(node.Value, out var purged) && purged <= epoch)
        {
            record.Purges.Remove(node.Value);
        }

        return record.Equals(tombstone) ? null : record;
    }

    private async Task ReplaceUnclaimedAsync(NodeId id, UnclaimedReport report, CancellationToken cancellationToken)
    {
        for (var attempt = 1; attempt <= Limits.Control.WriteAttempts; attempt++)
        {
            if (state.View.Node(id) is not { RegistrationRecord: { } registration } node)
            {
                return;
            }

            var record = registration.Clone();
            record.Unclaimed.Clear();
            record.Unclaimed.AddRange(UnclaimedList.After(registration.Unclaimed, report));
            if (record.Equals(registration))
            {
                return;
            }

            var result = await writer.WriteAsync(
                new(
                    [Compare.Modified(Keys.NodeRegistration(id), node.RegistrationRevision)],
                    [new StoreOperation.Put(Keys.NodeRegistration(id), record.ToByteArray())]),
                cancellationToken);
            await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return;
            }
        }

        throw ApiErrors.Aborted("NODE_CHANGING", "The node kept changing while its unclaimed instances were recorded; report again.");
    }

    private static void Check(ReportStatusRequest request)
    {
        var violations = new FieldViolations();
        Count(request.Reports.Count, Limits.Agents.ReportsPerCall, "reports");
        Count(request.Removed.Count, Limits.Agents.ReportsPerCall, "removed");
        Count(request.Unclaimed?.Instances.Count ?? 0, Limits.Agents.Unclaimed, "unclaimed.instances");
        if (request.Unclaimed?.CalculateSize() is > Limits.Agents.UnclaimedBytes and var size)
        {
            violations.Add("unclaimed", $"takes {size} bytes; at most {Limits.Agents.UnclaimedBytes}");
        }

        for (var i = 0; i < request.Reports.Count; i++)
        {
            if (!ReportedStatus.CanBeObserved(request.Reports[i].Status))
            {
                violations.Add($"reports[{i}].status.state", $"{request.Reports[i].Status?.State} is not something an agent observes");
            }
        }

        violations.ThrowIfAny();

        void Count(int count, int limit, string field)
        {
            if (count > limit)
            {
                violations.Add(field, $"has {count} entries; at most {limit}");
            }
        }
    }
}
