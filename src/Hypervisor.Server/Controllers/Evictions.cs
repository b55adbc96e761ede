using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>How an instance leaves a node that it is not to be on any more: the first and the last write of it.</summary>
internal static class Evictions
{
    public const string Preempted = "Preempted";
    public const string Drained = "Drained";
    public const string Rebalanced = "Rebalanced";
    public const string TaintNotTolerated = "TaintNotTolerated";

    /// <summary>
    /// Whether it can go on elsewhere, and has not been told to go: not with a disk that is on its node, nor as a clone, whose disks are copied on
    /// the node of its source.
    /// </summary>
    public static bool CanMove(InstanceEntry instance) =>
        instance is { Deleting: false, IsEvicted: false, NodeId: not null, HasLocalDisk: false, IsClone: false };

    /// <summary>Its node says that it has come to rest by this very decision, and will not go on by itself.</summary>
    public static bool IsAtRest(InstanceEntry instance) =>
        instance is { Eviction: { InPlace: true, Parked: false }, CurrentStatus: { State: InstanceState.Suspended or InstanceState.Stopped or InstanceState.Failed } status }
        && status.ObservedParking == instance.PlacementRevision;

    /// <summary>It has made room where it is, and its node is there for it to go on.</summary>
    public static bool IsParked(InstanceEntry instance) => instance is { IsEvicted: true, Node.Exists: true, Eviction.Parked: true };

    /// <summary>Who leaves, in words, for a sentence that goes on with where.</summary>
    public static string Leave(int count) => count switch
    {
        0 => "What leaves already leaves",
        1 => "1 instance leaves",
        _ => $"{count} instances leave",
    };

    /// <summary>Each leaves, or makes room where it is if it cannot. Holds only while its placement is as it was read.</summary>
    /// <param name="next">By which its next node is chosen, whoever leads then; unspecified means the instance's own.</param>
    public static StoreWrite Begin(
        IEnumerable<InstanceEntry> instances, Eviction eviction, DateTimeOffset now, IReadOnlyList<Compare> guards, PlacementStrategy next = PlacementStrategy.Unspecified)
    {
        var compares = new List<Compare>(guards);
        var operations = new List<StoreOperation>();
        foreach (var instance in instances)
        {
            var record = instance.PlacementRecord!.Clone();
            record.NextStrategy = next;
            record.Placement.Eviction = eviction.Clone();
            record.Placement.Eviction.RequestedAt = now.ToTimestamp();
            record.Placement.Eviction.InPlace = !CanMove(instance);

            // What does not run has no memory to keep.
            record.Placement.Eviction.Suspends = record.Placement.Eviction.InPlace && instance.Spec.Type is InstanceType.Vm or InstanceType.Microvm
                && instance.CurrentStatus?.State is InstanceState.Running or InstanceState.Paused or InstanceState.Suspended;
            record.Placement.Eviction.Restarts = record.Placement.Eviction.InPlace && instance.ReportedState is not (InstanceState.Stopped or InstanceState.Failed);
            compares.Add(Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision));
            operations.Add(new StoreOperation.Put(Keys.Placement(instance.Id), record.ToByteArray()));
        }

        return new(compares, operations);
    }

    /// <summary>It is at rest: what it held but for its disks is free.</summary>
    public static StoreWrite Park(InstanceEntry instance, Compare guard) => Rewrite(instance, guard, record =>
    {
        record.Reserved = (ResourceAmount.Of(record.Reserved) with { CpuMillicores = 0, MemoryBytes = 0 }).ToResources();
        record.Placement.Eviction.Parked = true;
    });

    /// <summary>It could not be suspended in time: it is stopped.</summary>
    public static StoreWrite StopInstead(InstanceEntry instance, Compare guard) => Rewrite(instance, guard, record => record.Placement.Eviction.Suspends = false);

    private static StoreWrite Rewrite(InstanceEntry instance, Compare guard, Action<PlacementRecord> change)
    {
        var record = instance.PlacementRecord!.Clone();
        change(record);
        return new(
            [guard, Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision)],
            [new StoreOperation.Put(Keys.Placement(instance.Id), record.ToByteArray())]);
    }

    /// <summary>Its node has said that nothing of it is left: now, and not before, what it held there is free.</summary>
    public static StoreWrite Finish(InstanceEntry instance)
    {
        var record = instance.PlacementRecord!;
        var eviction = record.Placement.Eviction;
        var placement = new Placement
        {
            Epoch = instance.Epoch.Value,
            Reason = eviction.Reason,
            Message = $"{eviction.Message} It has left node '{record.Placement.Node}' and waits for another one.",
        };
        return new(
            [Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision)],
            [
                new StoreOperation.Put(Keys.Placement(instance.Id), new PlacementRecord { Placement = placement, NextStrategy = record.NextStrategy }.ToByteArray()),
                new StoreOperation.Delete(Keys.Status(instance.Id)),
            ]);
    }
}
