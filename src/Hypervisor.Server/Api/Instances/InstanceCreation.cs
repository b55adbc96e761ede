using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What a new instance shall be, from a view, and what has to be so still when it is written.</summary>
/// <param name="asked">As the request has it.</param>
internal delegate (InstanceSpec Spec, IReadOnlyList<Compare> Guards) SpecOfView(ClusterView view, InstanceSpec asked);

/// <summary>CreateInstance; several at once are <see cref="BulkCreation"/>.</summary>
/// <param name="placement">Null leaves every placement to the controller.</param>
/// <param name="aliases">Null means that every image is called as it is written.</param>
internal sealed class InstanceCreation(
    ViewReads reads,
    StoreWriter writer,
    IRandomSource random,
    TimeProvider time,
    IFirstPlacement? placement = null,
    ImageAliases? aliases = null)
{
    public Task<Instance> CreateAsync(CreateInstanceRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = CreateValidation.Check(request, violations);
        violations.ThrowIfAny();
        return CreateValidAsync(request, project, KeyOf(request, project), static (_, spec) => (spec, []), cancellationToken);
    }

    /// <summary>As <see cref="CreateAsync"/>, of an instance that depends on another one.</summary>
    /// <param name="request">Names the instance; what it is follows from the view.</param>
    /// <param name="from">What it shall be, written out, and what has to be so still when it is written.</param>
    public Task<Instance> CreateFromAsync(CreateInstanceRequest request, string project, RequestKey key, SpecOfView from, CancellationToken cancellationToken) =>
        CreateValidAsync(request, project, key, from, cancellationToken);

    private async Task<Instance> CreateValidAsync(
        CreateInstanceRequest request, string project, RequestKey key, SpecOfView from, CancellationToken cancellationToken)
    {
        var placeFirst = placement;
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            if (Known(view, project, request.Name, key) is { } known)
            {
                return known;
            }

            var id = NewId();
            var (spec, guards) = from(view, request.Spec);
            var record = NewRecord(request, spec, project, id, view, key);
            ImageValidation.Check(record.Spec, view.Image(project, record.Spec.Image));
            if (request.DryRun)
            {
                return DryRun(request, id, record, view);
            }

            var proposal = placeFirst?.Propose(id, record, view, dryRun: false);
            QueueAdmission.Check(request, id, record, view, proposal, placement);
            var birth = new InstanceBirth(id, record, InstanceBirths.PinnedBy(record, view), proposal) { Guards = guards };
            var written = await InstanceBirths.WriteAsync(writer, [birth], cancellationToken);
            if (written.Succeeded)
            {
                return Rendered(birth, await reads.IncludingAsync(written.Revision, cancellationToken), written.Revision);
            }

            // The name was taken or the image changed or went meanwhile, which the next look shows; or else leadership was
            // lost: then the new leader places.
            var present = await reads.IncludingAsync(written.Revision, cancellationToken);
            if (InstanceBirths.PinnedBy(record, present)?.ModRevision == birth.Image?.ModRevision)
            {
                placeFirst = null;
            }
        }

        throw ApiErrors.Aborted("CONFLICT", $"Instance '{request.Name}' is being created and deleted by others all the time; try again.");
    }

    /// <summary>The answer when the name is taken, or was when this very request was made before.</summary>
    public static Instance? Known(ClusterView view, string project, string name, RequestKey key)
    {
        if (view.InstanceByName(project, name) is { } existing)
        {
            return key.IsRepeated(existing.SpecRecord.Requests)
                ? InstanceView.Render(existing)
                : throw ApiErrors.AlreadyExists(
                    "Instance", name, $"Instance '{name}' exists in project '{project}'{(existing.Deleting ? " and is being deleted" : "")}; take another name.");
        }

        var tombstone = key.Id.Length == 0
            ? null
            : view.TombstonesNamed(project, name).FirstOrDefault(tombstone => key.IsRepeated(tombstone.Record.Requests));
        return tombstone is null ? null : DraftEntries.Deleted(tombstone, view.Incarnation);
    }

    /// <param name="request">The call's own; as it was afterwards. Copying each of thousands would cost more than everything else here.</param>
    public static RequestKey KeyOf(CreateInstanceRequest request, string project)
    {
        var said = (request.RequestId, request.DryRun, request.Project);
        (request.RequestId, request.DryRun, request.Project) = ("", false, project);
        try
        {
            return RequestKey.Of(said.RequestId, request);
        }
        finally
        {
            (request.RequestId, request.DryRun, request.Project) = said;
        }
    }

    /// <summary>A name for an instance that is none other's. Those made about the same time lie together in the view and in the store's index.</summary>
    public InstanceId NewId() => new(random.NewOrderedUid(time.GetUtcNow()));

    /// <summary>What the request makes of an instance.</summary>
    public InstanceSpecRecord NewRecord(CreateInstanceRequest request, InstanceSpec asked, string project, InstanceId id, ClusterView view, RequestKey key)
    {
        var now = time.GetUtcNow();
        var metadata = new ObjectMeta { Name = request.Name, Project = project, Labels = { request.Labels }, Annotations = { request.Annotations } };
        var record = InstanceBirths.Record(id, metadata, asked, view, aliases, now);
        key.Remember(record.Requests, now);
        return record;
    }

    /// <summary>What was written, also when it is gone again. Takes the birth's records over.</summary>
    public static Instance Rendered(InstanceBirth birth, ClusterView after, long revision)
    {
        if (after.Instance(birth.Id) is not { } entry)
        {
            return InstanceView.Render(
                DraftEntries.Of(birth.Id, birth.Record, birth.Proposal?.Placement, after, ResourceVersion.Of(after.Incarnation, revision)));
        }

        // What the view has is what was written, unless somebody was faster: then it is parsed.
        var isOurs = entry.SpecRevision == revision && entry.PlacementRevision == (birth.Proposal is null ? 0 : revision);
        return isOurs ? InstanceView.Render(entry, birth.Record, birth.Proposal?.Placement) : InstanceView.Render(entry);
    }

    private Instance DryRun(CreateInstanceRequest request, InstanceId id, InstanceSpecRecord record, ClusterView view)
    {
        var proposal = placement?.Propose(id, record, view, dryRun: true);
        QueueAdmission.Check(request, id, record, view, proposal, placement);
        var instance = InstanceView.Render(DraftEntries.Of(id, record, proposal?.Placement, view, ResourceVersion.None));
        instance.Metadata.Uid = "";
        return instance;
    }
}
