using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What is changed of a specification, or the refusal of it by an exception.</summary>
/// <param name="spec">To be changed.</param>
/// <param name="entry">The instance as it is.</param>
/// <returns>Whether anything was changed.</returns>
internal delegate bool ChangeOfSpec(InstanceSpec spec, InstanceEntry entry, ClusterView view);

/// <summary>Changes the specification of one instance: once per request, on the version that the change was decided on.</summary>
internal sealed class SpecChange(ViewReads reads, StoreWriter writer, TimeProvider time)
{
    public async Task<Instance> ApplyAsync(MutationTarget target, ChangeOfSpec change, CancellationToken cancellationToken)
    {
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (InstanceAddress.Find(view, target.Project, target.Instance) is not { } entry)
            {
                return Gone(view, target);
            }

            if (target.Key.IsRepeated(entry.SpecRecord.Requests))
            {
                return InstanceView.Render(entry);
            }

            target.CheckVersion(entry);
            if (entry.Deleting)
            {
                throw ApiErrors.FailedPrecondition(
                    "BEING_DELETED", $"Instance '{entry.Name}' is being deleted; nothing else can be asked of it.", "Instance", entry.Name);
            }

            var record = entry.SpecRecord.Clone();
            var changed = change(record.Spec, entry, view);
            if (!changed && target.Key.Id.Length == 0)
            {
                return InstanceView.Render(entry);
            }

            // A request that finds its wish fulfilled is remembered too: repeated later, it must not undo what came between.
            record.Metadata.Generation += changed ? 1 : 0;
            target.Key.Remember(record.Requests, time.GetUtcNow());
            record.TraceParent = TraceContext.Parent;
            var result = await writer.WriteAsync(
                new(target.Compares(entry), [new StoreOperation.Put(entry.SpecKey, record.ToByteArray())]), cancellationToken);
            var after = await reads.IncludingAsync(result.Revision, cancellationToken);
            if (result.Succeeded)
            {
                return after.Instance(entry.Id) is { } current
                    ? InstanceView.Render(current)
                    : Rendered(entry, record, after, result.Revision);
            }
        }

        throw target.Conflict();
    }

    private static Instance Rendered(InstanceEntry entry, InstanceSpecRecord record, ClusterView after, long revision) => InstanceView.Render(
        DraftEntries.Of(entry.Id, record, entry.PlacementRecord, after, Protocol.ResourceVersion.Of(after.Incarnation, revision)));

    private static Instance Gone(ClusterView view, MutationTarget target)
    {
        if (InstanceAddress.FindTombstone(view, target.Project, target.Instance) is { } tombstone
            && target.Key.IsRepeated(tombstone.Record.Requests))
        {
            return DraftEntries.Deleted(tombstone, view.Incarnation);
        }

        throw InstanceAddress.NotFound(target.Project, target.Instance);
    }
}
