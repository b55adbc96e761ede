using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>
/// DeleteInstance. What was never placed is removed at once; anything else is marked, and goes when its node has removed
/// every trace (docs/decisions/0001, item 5).
/// </summary>
internal sealed class InstanceDeletion(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    public async Task<Instance> DeleteAsync(DeleteInstanceRequest request, CancellationToken cancellationToken)
    {
        var bare = request.Clone();
        bare.RequestId = "";
        var target = MutationTarget.Of(request.Project, request.Instance, request.RequestId, request.ResourceVersion, bare);
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (InstanceAddress.Find(view, target.Project, target.Instance) is not { } entry)
            {
                if (InstanceAddress.FindTombstone(view, target.Project, target.Instance) is { } tombstone
                    && target.Key.IsRepeated(tombstone.Record.Requests))
                {
                    return DraftEntries.Deleted(tombstone, view.Incarnation);
                }

                throw InstanceAddress.NotFound(target.Project, target.Instance);
            }

            if (target.Key.IsRepeated(entry.SpecRecord.Requests) || entry.Deleting)
            {
                return InstanceView.Render(entry);
            }

            target.CheckVersion(entry);
            var now = time.GetUtcNow();
            var record = entry.SpecRecord.Clone();
            record.Metadata.DeletedAt = Timestamp.FromDateTimeOffset(now);
            record.Metadata.Generation++;
            target.Key.Remember(record.Requests, now);
            var write = entry.Epoch == Epoch.None
                ? Remove(entry, record, target)
                : new StoreWrite(target.Compares(entry), [new StoreOperation.Put(entry.SpecKey, record.ToByteArray())]);
            var result = await writer.WriteAsync(write, cancellationToken);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return InstanceView.Render(after.Instance(entry.Id) ?? DraftEntries.Of(
                    entry.Id, record, entry.PlacementRecord, after, ResourceVersion.Of(after.Incarnation, result.Revision)));
            }
        }

        throw target.Conflict();
    }

    private static StoreWrite Remove(InstanceEntry entry, InstanceSpecRecord record, MutationTarget target)
    {
        var compares = target.Compares(entry);
        if (target.ResourceVersion == 0)
        {
            // The scheduler may be placing it right now: one of the two loses.
            compares.Add(Compare.Modified(Keys.Placement(entry.Id), entry.PlacementRevision));
        }

        var tombstone = new TombstoneRecord
        {
            Project = entry.Project,
            Name = entry.Name,
            Type = entry.Type,
            DeletedAt = record.Metadata.DeletedAt,
            Requests = { record.Requests },
        };
        return new(
            compares,
            [
                new StoreOperation.Delete(entry.SpecKey),
                new StoreOperation.Delete(Keys.Placement(entry.Id)),
                new StoreOperation.Delete(Keys.Status(entry.Id)),
                new StoreOperation.Delete(Keys.Receipt(entry.Id)),
                new StoreOperation.Put(Keys.Tombstone(entry.Id), tombstone.ToByteArray()),
            ]);
    }
}
