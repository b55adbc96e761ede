using System.Collections.Concurrent;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

internal sealed partial class PlacementController
{
    /// <summary>While others leave for it.</summary>
    public const string Preempting = "Preempting";

    /// <summary>Tells all who have to leave, and the one that they leave for, or nobody.</summary>
    private async Task<PassOutcome> PreemptAsync(
        LeaderTerm term, QueuedPlan next, Preemption preemption, ConcurrentQueue<QueuedInstance> undone, CancellationToken cancellationToken)
    {
        var entry = next.Entry;
        var eviction = new Eviction
        {
            Reason = Evictions.Preempted,
            Message = $"Makes room for '{entry.Name}' of project '{entry.Project}', whose priority is higher.",
            ForUid = entry.Id.Value,
        };
        var begin = Evictions.Begin(
            preemption.Victims,
            eviction,
            time.GetUtcNow(),
            [term.Guard, Compare.Modified(entry.SpecKey, entry.SpecRevision), Compare.Modified(Keys.Placement(entry.Id), entry.PlacementRevision)]);
        var waits = new PlacementRecord
        {
            Placement = new()
            {
                Epoch = entry.Epoch.Value,
                Reason = Preempting,
                Message = $"{Evictions.Leave(preemption.Victims.Count)} node '{preemption.Node}' to make room for it.",
            },
        };
        var told = false;
        try
        {
            var write = begin with { Operations = [.. begin.Operations, new StoreOperation.Put(Keys.Placement(entry.Id), waits.ToByteArray())] };
            if (await TryWriteAsync(write, cancellationToken) is not { } revision)
            {
                return PassOutcome.Unfinished;
            }

            told = true;
            Placer.Asked(term, entry.Id, revision);
            LogPreempts(logger, entry.Project, entry.Name, preemption.Victims.Count, preemption.Node);
            return PassOutcome.Done;
        }
        finally
        {
            if (!told)
            {
                Placer.Unclaim(term, entry.Id);
                undone.Enqueue(next.Item);
            }
        }
    }

    /// <summary>What makes room where it is gives up what it holds once it is at rest; what cannot be suspended in time is stopped.</summary>
    private async Task<PassOutcome> ParkAsync(LeaderTerm term, InstanceEntry instance, CancellationToken cancellationToken)
    {
        var late = instance.Eviction is { Suspends: true } eviction && time.GetUtcNow() - eviction.RequestedAt.ToDateTimeOffset() > Limits.Control.SuspendPatience;
        if (!Evictions.IsAtRest(instance) && !late)
        {
            return PassOutcome.Done;
        }

        var write = Evictions.IsAtRest(instance) ? Evictions.Park(instance, term.Guard) : Evictions.StopInstead(instance, term.Guard);
        return await TryWriteAsync(write, cancellationToken) is null ? PassOutcome.Unfinished : PassOutcome.Done;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Instance {Project}/{Instance} has {Count} instances of lower priority leave {Node}")]
    private static partial void LogPreempts(ILogger logger, string project, string instance, int count, string node);
}
