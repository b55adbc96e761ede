using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Api.Instances;

/// <summary>A new instance on its way into the store.</summary>
/// <param name="Image">The image whose digest the record took; null when there was none.</param>
/// <param name="Proposal">Null leaves the placement to the controller.</param>
internal sealed record InstanceBirth(InstanceId Id, InstanceSpecRecord Record, ImageEntry? Image, PlacementProposal? Proposal)
{
    /// <summary>What else must still be so when it is written.</summary>
    public IReadOnlyList<Compare> Guards { get; init; } = [];
}

/// <summary>How instances come into the store: one alone, or several together or not at all.</summary>
internal static class InstanceBirths
{
    /// <summary>A record as it is first written, with everything that was left open written out.</summary>
    /// <param name="metadata">Name, project, labels, annotations and owner; the rest is filled in here.</param>
    public static InstanceSpecRecord Record(
        InstanceId id, ObjectMeta metadata, InstanceSpec asked, ClusterView view, ImageAliases? aliases, DateTimeOffset now)
    {
        if (aliases?.Resolve(asked.Image, asked.Type) is { } meant && meant != asked.Image)
        {
            asked = asked.Clone();
            asked.Image = meant;
        }

        var spec = SpecDefaults.Fill(asked);
        if (spec.ImageDigest.Length == 0 && spec.ImagePullPolicy != ImagePullPolicy.Always)
        {
            spec.ImageDigest = view.Image(metadata.Project, spec.Image)?.Record.Image?.Digest ?? "";
        }

        (metadata.Uid, metadata.Generation, metadata.CreatedAt) = (id.Value, 1, now.ToTimestamp());
        return new() { TraceParent = TraceContext.Parent, Metadata = metadata, Spec = spec };
    }

    /// <summary>The image whose digest the record took; null when there was none.</summary>
    public static ImageEntry? PinnedBy(InstanceSpecRecord record, ClusterView view) =>
        record.Spec.ImageDigest.Length == 0 ? null : view.Image(record.Metadata.Project, record.Spec.Image);

    /// <summary>All or none, in one transaction. Each proposal is told what became of it.</summary>
    /// <param name="births">As many as fit into a transaction: at most <see cref="Limits.Groups.InstancesPerWrite"/> with <see cref="Limits.Groups.BytesPerWrite"/>.</param>
    /// <exception cref="StoreBusyException">Nothing happened.</exception>
    /// <exception cref="StoreUnavailableException">The outcome is unknown.</exception>
    public static async Task<WriteResult> WriteAsync(StoreWriter writer, IReadOnlyList<InstanceBirth> births, CancellationToken cancellationToken)
    {
        var (outcome, revision) = (PlacementOutcome.Unknown, 0L);
        try
        {
            var result = await writer.WriteAsync(
                new([.. births.SelectMany(Compares).Distinct()], [.. births.SelectMany(Operations)]), cancellationToken);
            (outcome, revision) = result.Succeeded ? (PlacementOutcome.Committed, result.Revision) : (PlacementOutcome.Refused, 0);
            return result;
        }
        catch (StoreBusyException)
        {
            outcome = PlacementOutcome.Refused;
            throw;
        }
        finally
        {
            foreach (var birth in births)
            {
                birth.Proposal?.Settle(outcome, revision);
            }
        }
    }

    private static IEnumerable<Compare> Compares(InstanceBirth birth)
    {
        var (project, name) = (birth.Record.Metadata.Project, birth.Record.Metadata.Name);
        yield return Compare.Absent(Keys.Spec(project, name));
        if (birth.Image is { } image)
        {
            // The blobs behind a digest stay for as long as a record names them: deleting or replacing the image while no
            // instance with the digest is written yet would leave the instance without its content.
            yield return Compare.Modified(Keys.Image(project, image.Reference), image.ModRevision);
        }

        foreach (var guard in birth.Guards.Concat(birth.Proposal?.Guards ?? []))
        {
            yield return guard;
        }
    }

    private static IEnumerable<StoreOperation> Operations(InstanceBirth birth)
    {
        var metadata = birth.Record.Metadata;
        yield return new StoreOperation.Put(Keys.Spec(metadata.Project, metadata.Name), birth.Record.ToByteArray());
        if (birth.Proposal is { } proposal)
        {
            yield return new StoreOperation.Put(Keys.Placement(birth.Id), proposal.Placement.ToByteArray());
            if (proposal.Receipt is { } receipt)
            {
                yield return new StoreOperation.Put(Keys.Receipt(birth.Id), receipt.ToByteArray());
            }
        }
    }
}
