using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>The last step of a deletion: every key of the instance goes, its tombstone comes.</summary>
internal static class InstanceRemoval
{
    /// <summary>
    /// Holds only while neither spec nor placement changed since the entry was read: nothing was started or moved meanwhile,
    /// and of two that finish the same deletion one loses and finds it done.
    /// </summary>
    public static StoreWrite Write(InstanceEntry instance, DateTimeOffset now, IReadOnlyList<Compare> guards)
    {
        var tombstone = new TombstoneRecord
        {
            Project = instance.Project,
            Name = instance.Name,
            Epoch = instance.Epoch.Value,
            Type = instance.Type,
            DeletedAt = now.ToTimestamp(),
        };
        tombstone.Requests.AddRange(instance.SpecRecord.Requests);
        return new(
            [
                .. guards,
                Compare.Modified(instance.SpecKey, instance.SpecRevision),
                Compare.Modified(Keys.Placement(instance.Id), instance.PlacementRevision),
            ],
            [
                new StoreOperation.Delete(instance.SpecKey),
                new StoreOperation.Delete(Keys.Placement(instance.Id)),
                new StoreOperation.Delete(Keys.Status(instance.Id)),
                new StoreOperation.Delete(Keys.Receipt(instance.Id)),
                new StoreOperation.Put(Keys.Tombstone(instance.Id), tombstone.ToByteArray()),
            ]);
    }
}
