using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Nodes;

/// <summary>
/// Keeps versions and epochs growing when the store has gone back in time: an agent that remembers more than the store holds
/// proves a restore that nobody announced, and the incarnation goes above what it remembers (RevisionMonotonic, EpochMonotonic).
/// </summary>
/// <remarks>
/// What can be proved: a resource_version above the store's own, or an epoch of a later incarnation. A store that was
/// restored and has since grown past everything the agent saw is not recognised; the restore itself has to raise the
/// incarnation. Existing placements get epochs of the new incarnation from the placement controller.
/// </remarks>
internal sealed partial class IncarnationKeeper(ClusterState state, IClusterStore store, StoreWriter writer, ILogger<IncarnationKeeper> logger)
{
    /// <summary>
    /// Returns once this replica's view is above everything in the arguments; 0 stands for "nothing seen". Only for what an
    /// authenticated node says: raising the incarnation renews every epoch in the cluster.
    /// </summary>
    /// <returns>The view, which also includes every write acknowledged before the call.</returns>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT for what no sequence of restores explains.</exception>
    /// <exception cref="StoreUnavailableException"/>
    public async Task<ClusterView> CatchUpAsync(Epoch seenEpoch, ResourceVersion seenVersion, CancellationToken cancellationToken)
    {
        while (true)
        {
            var view = await CurrentAsync(cancellationToken);
            if (!IsBehind(view, seenEpoch, seenVersion))
            {
                return view;
            }

            await RaiseAsync(Math.Max(HighestOf(seenEpoch, seenVersion), view.Incarnation.Value) + 1, cancellationToken);
        }
    }

    /// <summary>A view that includes every write acknowledged before the call.</summary>
    /// <exception cref="StoreUnavailableException"/>
    public async Task<ClusterView> CurrentAsync(CancellationToken cancellationToken)
    {
        var revision = await store.GetRevisionAsync(cancellationToken);
        return await state.WaitForRevisionAsync(revision, cancellationToken);
    }

    /// <summary>Whether somebody saw more than the view, as current as it is, holds.</summary>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT for what no sequence of restores explains.</exception>
    public static bool IsBehind(ClusterView view, Epoch seenEpoch, ResourceVersion seenVersion)
    {
        var seen = HighestOf(seenEpoch, seenVersion);
        if (seenVersion <= view.ResourceVersion && seen <= view.Incarnation.Value)
        {
            return false;
        }

        return seen <= view.Incarnation.Value + Limits.Agents.IncarnationLead && seen < Incarnation.Maximum
            ? true
            : throw ApiErrors.InvalidArgument(
                "highest_epoch", $"is of incarnation {seen}, far above this store's {view.Incarnation}; is this agent's state of another cluster?");
    }

    private static int HighestOf(Epoch epoch, ResourceVersion version) => Math.Max(version.IncarnationNumber, (int)(epoch.Value >> 48));

    private async Task RaiseAsync(int incarnation, CancellationToken cancellationToken)
    {
        var range = await store.RangeAsync(RangeQuery.Single(Keys.ClusterIdentity), cancellationToken);
        var identity = ClusterIdentity.Parser.ParseFrom(range.Items[0].Value.Span);
        if (identity.Incarnation >= incarnation)
        {
            await state.WaitForRevisionAsync(range.Revision, cancellationToken);
            return;
        }

        LogRaising(logger, identity.Incarnation, incarnation);
        identity.Incarnation = incarnation;
        var result = await writer.WriteAsync(
            new(
                [Compare.Modified(Keys.ClusterIdentity, range.Items[0].ModRevision)],
                [new StoreOperation.Put(Keys.ClusterIdentity, identity.ToByteArray())]),
            cancellationToken);
        await state.WaitForRevisionAsync(result.Revision, cancellationToken);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "An agent remembers more than the store holds: the store was restored. Its incarnation goes from {Before} to {After}")]
    private static partial void LogRaising(ILogger logger, int before, int after);
}
