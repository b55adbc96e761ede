using System.Collections.Concurrent;
using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers;

/// <summary>
/// Gives every instance a node that can have one, and takes placements back from nodes that were deregistered (which a node
/// that holds instances is only when somebody vouched that it is off).
/// </summary>
internal sealed partial class PlacementController(
    ClusterState state,
    IClusterStore store,
    StoreWriter writer,
    Placer placer,
    TimeProvider time,
    ILogger<PlacementController> logger) : IController
{
    public string Name => "placement";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        while (true)
        {
            var view = state.View;
            using var changes = state.Subscribe(view.Revision);
            PassOutcome outcome;
            try
            {
                outcome = await ReconcileAsync(term, cancellationToken);
            }
            catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
            {
                LogStoreAway(logger, exception.Message);
                outcome = PassOutcome.Unfinished;
            }

            if (outcome == PassOutcome.Unfinished)
            {
                await Task.Delay(Limits.Control.ReconcileRetry, time, cancellationToken);
                continue;
            }

            if (outcome == PassOutcome.Waiting)
            {
                await Task.Delay(Limits.Control.PendingPause, time, cancellationToken);
            }

            await WaitForWorkAsync(changes, cancellationToken);
        }
    }

    /// <summary>One look at everything that asks for something. Callable on its own.</summary>
    public async Task<PassOutcome> ReconcileAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        using var timing = ServerInstruments.Reconciling(Name, time);
        await ResolveDoubtsAsync(term, cancellationToken);
        placer.GiveUpClaims(term);
        placer.WakeAllInTime(term);
        var outcome = PassOutcome.Done;
        var underWay = new Queue<Task<PassOutcome>>(Limits.Control.PlacementsInFlight);
        var undone = new ConcurrentQueue<QueuedInstance>();
        try
        {
            foreach (var chore in placer.ChoresOf(term))
            {
                await MakeRoomAsync();
                underWay.Enqueue(DoAsync(term, chore, cancellationToken));
            }

            while (placer.PlanNext(term) is { } next)
            {
                await MakeRoomAsync();
                underWay.Enqueue(CommitAsync(term, next, undone, cancellationToken));
            }

            while (underWay.TryDequeue(out var last))
            {
                outcome = Worst(outcome, await last);
            }

            return outcome == PassOutcome.Done && Placer.AnyWaits(term) ? PassOutcome.Waiting : outcome;
        }
        finally
        {
            // Also after a failure nothing is left on its way when the next look, or the next term, begins.
            Task left = Task.WhenAll(underWay);
            await left.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
            Placer.PutBack(term, undone);
        }

        async Task MakeRoomAsync()
        {
            if (underWay.Count == Limits.Control.PlacementsInFlight)
            {
                outcome = Worst(outcome, await underWay.Dequeue());
            }
        }
    }

    private async Task<PassOutcome> DoAsync(LeaderTerm term, InstanceEntry instance, CancellationToken cancellationToken)
    {
        var view = state.View;
        switch (PlacementNeeds.Of(instance, view.Incarnation))
        {
            case PlacementNeed.Removal:
                var removal = InstanceRemoval.Write(instance, time.GetUtcNow(), [term.Guard]);
                return await TryWriteAsync(removal, cancellationToken) is null ? PassOutcome.Unfinished : PassOutcome.Done;
            case PlacementNeed.NewEpoch:
                return await RenewAsync(term, view, instance, cancellationToken);
            case PlacementNeed.Parking:
                return await ParkAsync(term, instance, cancellationToken);
            case PlacementNeed.Refusal:
                var plan = placer.Refuse(
                    term, instance.Id, instance.Epoch, PlacementNeeds.LocalDiskLost,
                    $"Its local disk is on {instance.PlacementRecord?.Placement?.Node}, which was deregistered; it starts nowhere else. Delete it, or restore the disk.");
                return await TryWriteAsync(plan.WriteOf(instance), cancellationToken) is null ? PassOutcome.Unfinished : PassOutcome.Done;
            default:
                return PassOutcome.Done;
        }
    }

    /// <param name="undone">Gets what has to be decided about again.</param>
    private async Task<PassOutcome> CommitAsync(
        LeaderTerm term, QueuedPlan next, ConcurrentQueue<QueuedInstance> undone, CancellationToken cancellationToken)
    {
        if (next.Preemption is { } preemption)
        {
            return await PreemptAsync(term, next, preemption, undone, cancellationToken);
        }

        if (next.Plan is not { } plan)
        {
            // The outcome of an earlier attempt is not known yet. It may be that nothing came of it, and then no change of
            // the view brings us back.
            undone.Enqueue(next.Item);
            return PassOutcome.Unfinished;
        }

        var outcome = PlacementOutcome.Refused;
        try
        {
            if (await TryWriteAsync(plan.WriteOf(next.Entry), cancellationToken) is { } revision)
            {
                Placer.Settle(term, next, revision);
                LogDecided(next.Entry, plan);
                return PassOutcome.Done;
            }
        }
        catch (Exception exception) when (exception is StoreUnavailableException or OperationCanceledException)
        {
            outcome = PlacementOutcome.Unknown;
            undone.Enqueue(next.Item);
            plan.Settle(outcome, 0);
            throw;
        }
        catch (StoreBusyException)
        {
            undone.Enqueue(next.Item);
            plan.Settle(outcome, 0);
            throw;
        }

        undone.Enqueue(next.Item);
        plan.Settle(outcome, 0);
        return PassOutcome.Unfinished;
    }

    /// <summary>
    /// After a restore from backup agents may hold this instance under an epoch that the store has forgotten. The same node
    /// under an epoch of the new incarnation is above any of them.
    /// </summary>
    private async Task<PassOutcome> RenewAsync(
        LeaderTerm term, ClusterView view, InstanceEntry instance, CancellationToken cancellationToken)
    {
        var record = instance.PlacementRecord!.Clone();
        record.Placement.Epoch = Epoch.After(instance.Epoch, view.Incarnation).Value;
        var write = new StoreWrite(
            [term.Guard, Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision)],
            [new StoreOperation.Put(Keys.Placement(instance.Id), record.ToByteArray())]);
        return await TryWriteAsync(write, cancellationToken) is null ? PassOutcome.Unfinished : PassOutcome.Done;
    }

    /// <summary>Null when something changed meanwhile; the view then includes what.</summary>
    private async Task<long?> TryWriteAsync(StoreWrite write, CancellationToken cancellationToken)
    {
        var result = await writer.WriteAsync(write, cancellationToken);
        if (!result.Succeeded)
        {
            await state.WaitForRevisionAsync(result.Revision, cancellationToken);
        }

        return result.Succeeded ? result.Revision : null;
    }

    private async Task ResolveDoubtsAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        lock (term.Fleet.Gate)
        {
            if (!term.Fleet.Ledger.HasDoubts)
            {
                return;
            }
        }

        var revision = await store.GetRevisionAsync(cancellationToken);
        lock (term.Fleet.Gate)
        {
            term.Fleet.Ledger.ResolveDoubts(revision);
        }
    }

    private async Task WaitForWorkAsync(ChangeSubscription changes, CancellationToken cancellationToken)
    {
        var begun = time.GetTimestamp();
        while (true)
        {
            var left = Limits.Control.ReconcilePeriod - time.GetElapsedTime(begun);
            if (left <= TimeSpan.Zero)
            {
                return;
            }

            var read = await changes.ReadAsync(left, cancellationToken);
            if (read.Kind == FeedReadKind.Resync || (read.Change is { } change && Matters(change)))
            {
                return;
            }
        }
    }

    /// <summary>Most changes are statuses.</summary>
    private static bool Matters(StateChange change) => change.Nodes.Count > 0 || change.Instances.Any(entry =>
        entry.Old?.PlacementRevision != entry.New?.PlacementRevision || entry.Old?.SpecRevision != entry.New?.SpecRevision
        || (entry.New is { } now && Evictions.IsAtRest(now)));

    private static PassOutcome Worst(PassOutcome known, PassOutcome other) => other > known ? other : known;

    private void LogDecided(InstanceEntry instance, PlacementPlan plan)
    {
        var placement = plan.Placement.Placement;
        if (placement.NodeUid.Length > 0)
        {
            LogPlaced(logger, instance.Project, instance.Name, placement.Node, placement.Epoch);
        }
        else
        {
            LogPending(logger, instance.Project, instance.Name, placement.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "Instance {Project}/{Instance} goes to {Node} under epoch {Epoch}")]
    private static partial void LogPlaced(ILogger logger, string project, string instance, string node, long epoch);

    [LoggerMessage(Level = LogLevel.Debug, Message = "Instance {Project}/{Instance} waits: {Reason}")]
    private static partial void LogPending(ILogger logger, string project, string instance, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Placements could not be written; trying again: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}

/// <summary>What a pass left behind, the least finished last.</summary>
internal enum PassOutcome
{
    Done,

    /// <summary>Something waits for the fleet to change.</summary>
    Waiting,

    /// <summary>A write lost a race: look again soon.</summary>
    Unfinished,
}
