using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What a new instance shall be, from a view, and what has to be so still when it is written.</summary>
/// <param name="asked">As the request has it.</param>
internal delegate (InstanceSpec Spec, IReadOnlyList<Compare> Guards) SpecOfView(ClusterView view, InstanceSpec asked);

/// <summary>CreateInstance and CreateInstances.</summary>
/// <param name="placement">Null leaves every placement to the controller.</param>
/// <param name="aliases">Null means that every image is called as it is written.</param>
internal sealed class InstanceCreation(
    ViewReads reads,
    StoreWriter writer,
    IRandomSource random,
    TimeProvider time,
    ErrorTranslation errors,
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

    /// <summary>Every request by itself; the store joins them into few commits.</summary>
    public async Task<CreateInstancesResponse> CreateManyAsync(CreateInstancesRequest request, CancellationToken cancellationToken)
    {
        if (request.Requests.Count is 0 or > Limits.Instance.BulkRequests)
        {
            throw ApiErrors.InvalidArgument(
                "requests", $"has {request.Requests.Count} entries; 1 to {Limits.Instance.BulkRequests} are allowed.");
        }

        // All are begun before the first is awaited: that is what lets the writer join them.
        var running = request.Requests.Select(each => OneOfManyAsync(each, cancellationToken)).ToList();
        var response = new CreateInstancesResponse();
        foreach (var one in running)
        {
            response.Results.Add(await one);
        }

        return response;
    }

    private async Task<CreateInstanceResult> OneOfManyAsync(CreateInstanceRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return new() { Instance = await CreateAsync(request, cancellationToken) };
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception)
        {
            var status = errors.Translate(exception, "CreateInstances", cancelled: false).Status;
            return new() { Error = new() { Code = (int)status.StatusCode, Message = status.Detail } };
        }
    }

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

            var id = new InstanceId(random.NewUid());
            var (spec, guards) = from(view, request.Spec);
            var record = NewRecord(request, spec, project, id, view, key);
            ImageValidation.Check(record.Spec, view.Image(project, record.Spec.Image));
            if (request.DryRun)
            {
                return DryRun(request, id, record, view);
            }

            var proposal = placeFirst?.Propose(id, record, view, dryRun: false);
            QueueAdmission.Check(request, id, record, view, proposal, placement);
            var image = PinnedBy(record, view);
            var written = await WriteAsync(id, record, image, guards, proposal, cancellationToken);
            if (written.Succeeded)
            {
                var after = await reads.IncludingAsync(written.Revision, cancellationToken);
                var entry = after.Instance(id) ?? DraftEntries.Of(
                    id, record, proposal?.Placement, after, ResourceVersion.Of(after.Incarnation, written.Revision));
                return InstanceView.Render(entry);
            }

            // The name was taken or the image changed or went meanwhile, which the next look shows; or else leadership was
            // lost: then the new leader places.
            var present = await reads.IncludingAsync(written.Revision, cancellationToken);
            if (PinnedBy(record, present)?.ModRevision == image?.ModRevision)
            {
                placeFirst = null;
            }
        }

        throw ApiErrors.Aborted("CONFLICT", $"Instance '{request.Name}' is being created and deleted by others all the time; try again.");
    }

    private async Task<WriteResult> WriteAsync(
        InstanceId id, InstanceSpecRecord record, ImageEntry? image, IReadOnlyList<Compare> guards, PlacementProposal? proposal,
        CancellationToken cancellationToken)
    {
        var nameKey = Keys.Name(record.Metadata.Project, record.Metadata.Name);
        List<Compare> compares = [Compare.Absent(nameKey), .. guards];
        var operations = new List<StoreOperation>
        {
            new StoreOperation.Put(Keys.Spec(id), record.ToByteArray()),
            new StoreOperation.Put(nameKey, new NameRecord { Uid = id.Value }.ToByteArray()),
        };
        if (image is not null)
        {
            // The blobs behind a digest stay for as long as a record names them: deleting or replacing the image while no
            // instance with the digest is written yet would leave the instance without its content.
            compares.Add(Compare.Modified(Keys.Image(record.Metadata.Project, image.Reference), image.ModRevision));
        }

        if (proposal is not null)
        {
            compares.AddRange(proposal.Guards);
            operations.Add(new StoreOperation.Put(Keys.Placement(id), proposal.Placement.ToByteArray()));
            if (proposal.Receipt is { } receipt)
            {
                operations.Add(new StoreOperation.Put(Keys.Receipt(id), receipt.ToByteArray()));
            }
        }

        var (outcome, revision) = (PlacementOutcome.Unknown, 0L);
        try
        {
            var result = await writer.WriteAsync(new(compares, operations), cancellationToken);
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
            proposal?.Settle(outcome, revision);
        }
    }

    /// <summary>The image whose digest the record took; null when there was none.</summary>
    private static ImageEntry? PinnedBy(InstanceSpecRecord record, ClusterView view) =>
        record.Spec.ImageDigest.Length == 0 ? null : view.Image(record.Metadata.Project, record.Spec.Image);

    /// <summary>The answer when the name is taken, or was when this very request was made before.</summary>
    private static Instance? Known(ClusterView view, string project, string name, RequestKey key)
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

    private static RequestKey KeyOf(CreateInstanceRequest request, string project)
    {
        var digested = request.Clone();
        (digested.RequestId, digested.DryRun, digested.Project) = ("", false, project);
        return RequestKey.Of(request.RequestId, digested);
    }

    private InstanceSpecRecord NewRecord(
        CreateInstanceRequest request, InstanceSpec asked, string project, InstanceId id, ClusterView view, RequestKey key)
    {
        var now = time.GetUtcNow();
        if (aliases?.Resolve(asked.Image, asked.Type) is { } meant && meant != asked.Image)
        {
            asked = asked.Clone();
            asked.Image = meant;
        }

        var spec = SpecDefaults.Fill(asked);
        if (spec.ImageDigest.Length == 0 && spec.ImagePullPolicy != ImagePullPolicy.Always)
        {
            spec.ImageDigest = view.Image(project, spec.Image)?.Record.Image?.Digest ?? "";
        }

        var record = new InstanceSpecRecord
        {
            TraceParent = TraceContext.Parent,
            Metadata = new()
            {
                Name = request.Name,
                Project = project,
                Uid = id.Value,
                Labels = { request.Labels },
                Annotations = { request.Annotations },
                Generation = 1,
                CreatedAt = Timestamp.FromDateTimeOffset(now),
            },
            Spec = spec,
        };
        key.Remember(record.Requests, now);
        return record;
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
