using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>
/// Gives each group the members that it is to have: a group in turn, a bounded number of members each time, so that neither other groups nor the
/// API wait for a large one. What is to be done is <see cref="GroupPlanner"/>'s to say.
/// </summary>
internal sealed partial class GroupController(
    ClusterState state, IClusterStore store, GroupReconciler reconciler, TimeProvider time, ILogger<GroupController> logger) : IController
{
    public string Name => "groups";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        var (agenda, progress) = (new GroupAgenda(time), new GroupProgress(time));
        var changes = state.Subscribe(state.View.Revision);
        try
        {
            agenda.All(state.View);
            while (true)
            {
                await LookAsync(term, agenda, progress, cancellationToken);
                var read = await changes.ReadAsync(agenda.Next(), cancellationToken);
                for (; read.Kind == FeedReadKind.Change; read = changes.Read())
                {
                    agenda.Take(read.Change!);
                }

                if (read.Kind == FeedReadKind.Resync)
                {
                    changes.Dispose();
                    changes = state.Subscribe(state.View.Revision);
                    agenda.All(state.View);
                }
            }
        }
        finally
        {
            changes.Dispose();
        }
    }

    private async Task LookAsync(LeaderTerm term, GroupAgenda agenda, GroupProgress progress, CancellationToken cancellationToken)
    {
        foreach (var uid in agenda.TakeDue())
        {
            if (state.View.Group(uid) is null)
            {
                agenda.Forget(uid);
                progress.Forget(uid);
                GangCreation.Forget(term, uid);
                continue;
            }

            try
            {
                using var timing = ServerInstruments.Reconciling(Name, time);
                agenda.Take(uid, await reconciler.ReconcileAsync(term, uid, progress, cancellationToken));
            }
            catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
            {
                LogStoreAway(logger, exception.Message);
                agenda.Take(uid, new(Limits.Control.ReconcileRetry));
                await SettleAsync(cancellationToken);
            }
        }
    }

    /// <summary>What was on its way when the store failed happened or not: nothing is planned before the view shows which.</summary>
    private async Task SettleAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await Task.Delay(Limits.Control.ReconcileRetry, time, cancellationToken);
            try
            {
                await state.WaitForRevisionAsync(await store.GetRevisionAsync(cancellationToken), cancellationToken);
                return;
            }
            catch (StoreUnavailableException exception)
            {
                LogStoreAway(logger, exception.Message);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Groups could not be written; trying again: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
