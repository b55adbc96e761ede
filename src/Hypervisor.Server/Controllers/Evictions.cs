using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>How an instance leaves a node that it is not to be on any more: the first and the last write of it.</summary>
internal static class Evictions
{
    public const string Preempted = "Preempted";
    public const string Drained = "Drained";
    public const string TaintNotTolerated = "TaintNotTolerated";

    /// <summary>
    /// Whether it can go on elsewhere, and has not been told to go: not with a disk that is on its node, nor as a clone, whose disks are copied on
    /// the node of its source.
    /// </summary>
    public static bool CanMove(InstanceEntry instance) =>
        instance is { Deleting: false, IsEvicted: false, NodeId: not null, HasLocalDisk: false, IsClone: false };

    /// <summary>Holds only while its placement is as it was read.</summary>
    public static StoreWrite Begin(IEnumerable<InstanceEntry> instances, Eviction eviction, DateTimeOffset now, IReadOnlyList<Compare> guards)
    {
        var compares = new List<Compare>(guards);
        var operations = new List<StoreOperation>();
        foreach (var instance in instances)
        {
            var record = instance.PlacementRecord!.Clone();
            record.Placement.Eviction = eviction.Clone();
            record.Placement.Eviction.RequestedAt = now.ToTimestamp();
            compares.Add(Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision));
            operations.Add(new StoreOperation.Put(Keys.Placement(instance.Id), record.ToByteArray()));
        }

        return new(compares, operations);
    }

    /// <summary>Its node has said that nothing of it is left: now, and not before, what it held there is free.</summary>
    public static StoreWrite Finish(InstanceEntry instance)
    {
        var eviction = instance.Eviction!;
        var placement = new Placement
        {
            Epoch = instance.Epoch.Value,
            Reason = eviction.Reason,
            Message = $"{eviction.Message} It has left node '{instance.PlacementRecord!.Placement.Node}' and waits for another one.",
        };
        return new(
            [Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision)],
            [
                new StoreOperation.Put(Keys.Placement(instance.Id), new PlacementRecord { Placement = placement }.ToByteArray()),
                new StoreOperation.Delete(Keys.Status(instance.Id)),
            ]);
    }
}
