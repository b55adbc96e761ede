using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Scheduling;
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
    public const string LocalDiskLost = "LocalDiskLost";

    /// <summary>Of the last pass: something is kept waiting.</summary>
    private volatile bool _waits;

    /// <summary>Of the last pass: something is kept waiting by where other instances are, or are not.</summary>
    private volatile bool _waitsForNeighbours;

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

    /// <summary>One pass over everything. Callable on its own.</summary>
    public async Task<PassOutcome> ReconcileAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        using var timing = ServerInstruments.Reconciling(Name, time);
        await ResolveDoubtsAsync(term, cancellationToken);
        var view = state.View;
        var outcome = PassOutcome.Done;
        (_waits, _waitsForNeighbours) = (false, false);
        var underWay = new Queue<Task<PassOutcome>>(Limits.Control.PlacementsInFlight);
        try
        {
            foreach (var instance in WorkOf(view))
            {
                if (underWay.Count == Limits.Control.PlacementsInFlight)
                {
                    outcome = Worst(outcome, await underWay.Dequeue());
                }

                underWay.Enqueue(ReconcileAsync(term, view, instance, cancellationToken));
            }

            while (underWay.TryDequeue(out var last))
            {
                outcome = Worst(outcome, await last);
            }

            return outcome;
        }
        finally
        {
            // Also after a failure nothing is left on its way when the next look, or the next term, begins.
            Task left = Task.WhenAll(underWay);
            await left.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Oldest first among the pending, so that the first to ask is the first to get room.</summary>
    private static IEnumerable<InstanceEntry> WorkOf(ClusterView view) =>
        view.Instances.Where(instance => NeedOf(view, instance) != Need.Nothing)
            .OrderBy(instance => instance.Metadata.CreatedAt?.ToDateTimeOffset() ?? default)
            .ThenBy(instance => instance.Id.Value, StringComparer.Ordinal);

    private static Need NeedOf(ClusterView view, InstanceEntry instance)
    {
        var placedOnLost = instance.NodeId is { } node && view.Node(node) is null;
        if (instance.Deleting)
        {
            return instance.NodeId is null || placedOnLost ? Need.Removal : Need.Nothing;
        }

        if (instance.NodeId is null || placedOnLost)
        {
            return Need.Placement;
        }

        return instance.Epoch < new Epoch((long)view.Incarnation.Value << 48) ? Need.NewEpoch : Need.Nothing;
    }

    private async Task<PassOutcome> ReconcileAsync(
        LeaderTerm term, ClusterView view, InstanceEntry instance, CancellationToken cancellationToken)
    {
        switch (NeedOf(view, instance))
        {
            case Need.Removal:
                var removal = InstanceRemoval.Write(instance, time.GetUtcNow(), [term.Guard]);
                return await TryWriteAsync(removal, cancellationToken) is null ? PassOutcome.Unfinished : PassOutcome.Done;
            case Need.NewEpoch:
                return await RenewAsync(term, view, instance, cancellationToken);
            case Need.Placement:
                return await PlaceAsync(term, instance, cancellationToken);
            default:
                return PassOutcome.Done;
        }
    }

    private async Task<PassOutcome> PlaceAsync(LeaderTerm term, InstanceEntry instance, CancellationToken cancellationToken)
    {
        // A local disk was made where the instance was first placed; without that node it never starts again.
        var bound = instance.Epoch > Epoch.None && instance.Spec.Disks.Any(disk => disk.Kind == DiskKind.Local);
        if (bound && instance.PlacementRecord?.Placement is { NodeUid.Length: 0, Reason: LocalDiskLost })
        {
            return PassOutcome.Waiting;
        }

        var plan = bound
            ? placer.Refuse(
                term, instance.Id, instance.Epoch, LocalDiskLost,
                $"Its local disk is on {instance.PlacementRecord?.Placement?.Node}, which was deregistered; it starts nowhere else. Delete it, or restore the disk.")
            : placer.Plan(term, instance.Id, instance.SpecRecord, instance.Epoch);
        if (plan is null)
        {
            // The outcome of an earlier attempt is not known yet. It may be that nothing came of it, and then no change of
            // the view brings us back.
            return PassOutcome.Unfinished;
        }

        var placed = plan.Placement.Placement.NodeUid.Length > 0;
        if (!placed)
        {
            _waits = true;
            if (plan.Receipt?.Receipt?.Filters.Any(verdict => Scheduler.IsOfNeighbours(verdict.Filter)) == true)
            {
                _waitsForNeighbours = true;
            }
        }

        if (!placed && instance.PlacementRecord?.Placement is { NodeUid.Length: 0 } known &&
            known.Reason == plan.Placement.Placement.Reason && known.Message == plan.Placement.Placement.Message)
        {
            return PassOutcome.Waiting;
        }

        var write = new StoreWrite(
            [
                .. plan.Guards,
                Compare.Modified(Keys.Spec(instance.Id), instance.SpecRevision),
                Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision),
            ],
            plan.Operations);
        try
        {
            if (await TryWriteAsync(write, cancellationToken) is { } revision)
            {
                plan.Settle(PlacementOutcome.Committed, revision);
                LogDecided(instance, plan);
                return placed ? PassOutcome.Done : PassOutcome.Waiting;
            }
        }
        catch (StoreBusyException)
        {
            plan.Settle(PlacementOutcome.Refused, 0);
            throw;
        }
        catch (Exception exception) when (exception is StoreUnavailableException or OperationCanceledException)
        {
            plan.Settle(PlacementOutcome.Unknown, 0);
            throw;
        }

        plan.Settle(PlacementOutcome.Refused, 0);
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
        var due = time.GetTimestamp();
        while (true)
        {
            var left = Limits.Control.ReconcilePeriod - time.GetElapsedTime(due);
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

    private bool Matters(StateChange change)
    {
        var view = state.View;
        return change.Instances.Any(entry => entry.New is { } instance && NeedOf(view, instance) != Need.Nothing)
            || change.Nodes.Any(entry => Matters(entry.Old, entry.New))
            || (_waits && change.Instances.Any(entry => IsAnother(entry.Old, entry.New)))
            || (_waitsForNeighbours && change.Instances.Any(entry => entry.Old?.NodeId != entry.New?.NodeId));
    }

    /// <summary>
    /// It may hold less of its node than before or publish fewer ports there, be one that others ask for, or no longer ask them to stay away.
    /// </summary>
    private static bool IsAnother(InstanceEntry? before, InstanceEntry? after) =>
        after?.NodeId is { } node && before?.NodeId == node && before.SpecRevision != after.SpecRevision;

    /// <summary>Anything but a node that merely got fuller.</summary>
    private static bool Matters(NodeEntry? before, NodeEntry? after) =>
        before is null || after is null
        || before.SpecRevision != after.SpecRevision
        || before.RegistrationRevision != after.RegistrationRevision
        || before.HealthRevision != after.HealthRevision
        || !before.InstanceUids.IsSubsetOf(after.InstanceUids);

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

    private enum Need
    {
        Nothing,
        Placement,
        NewEpoch,
        Removal,
    }
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
