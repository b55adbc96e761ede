using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances;

/// <summary>
/// CreateInstances: in batches, each of which is one transaction of the store, so that all instances of a batch are created or none. The store's
/// front joins batches into few commits.
/// </summary>
internal sealed class BulkCreation(
    ViewReads reads, StoreWriter writer, ErrorTranslation errors, InstanceCreation creation, IFirstPlacement? placement = null)
{
    /// <exception cref="NotLeadingException">One wants no waiting, and the leader is another replica, or nobody. Nothing was created.</exception>
    public async Task<CreateInstancesResponse> CreateAsync(CreateInstancesRequest request, CancellationToken cancellationToken)
    {
        Check(request);
        if (placement is { Leads: false } && request.Requests.Any(each => each.FailFast))
        {
            throw new NotLeadingException();
        }

        var size = request.BatchSize == 0 ? Limits.Groups.InstancesPerWrite : request.BatchSize;

        // All of a window are begun before the first is awaited: that is what lets the writer join them. More at once would only wait there.
        using var window = new SemaphoreSlim(Limits.Instance.BulkBatchesInFlight);
        var running = request.Requests.Chunk(size).Select(async batch =>
        {
            await window.WaitAsync(cancellationToken);
            try
            {
                return await BatchAsync(batch, cancellationToken);
            }
            finally
            {
                window.Release();
            }
        }).ToList();
        var response = new CreateInstancesResponse();
        foreach (var batch in await Task.WhenAll(running))
        {
            response.Results.AddRange(batch);
        }

        return response;
    }

    private static void Check(CreateInstancesRequest request)
    {
        var violations = new FieldViolations();
        if (request.Requests.Count is 0 or > Limits.Instance.BulkRequests)
        {
            violations.Add("requests", $"has {request.Requests.Count} entries; 1 to {Limits.Instance.BulkRequests} are allowed.");
        }

        if (request.BatchSize is < 0 or > Limits.Groups.InstancesPerWrite)
        {
            violations.Add("batch_size", $"{request.BatchSize} is outside 0 to {Limits.Groups.InstancesPerWrite}; 0 means {Limits.Groups.InstancesPerWrite}.");
        }

        if (request.Requests.Any(each => each.DryRun) && !request.Requests.All(each => each.DryRun))
        {
            violations.Add("requests", "dry_run is set for some and not for others; send them apart.");
        }

        violations.ThrowIfAny();
    }

    private async Task<CreateInstanceResult[]> BatchAsync(CreateInstanceRequest[] batch, CancellationToken cancellationToken)
    {
        if (batch[0].DryRun)
        {
            return await Task.WhenAll(batch.Select(request => DryRunAsync(request, cancellationToken)));
        }

        var failed = 0;
        try
        {
            var wishes = new Wish[batch.Length];
            for (; failed < batch.Length; failed++)
            {
                wishes[failed] = Wish.Of(batch[failed]);
            }

            failed = -1;
            if (batch.Length > 1 && batch.Sum(request => (long)request.CalculateSize()) is > Limits.Groups.BytesPerWrite and var bytes)
            {
                throw ApiErrors.InvalidArgument(
                    "requests", $"the batch takes {bytes} bytes; at most {Limits.Groups.BytesPerWrite} are allowed. Send smaller batches (batch_size).");
            }

            return await CreateAsync(wishes, index => failed = index, cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception)
        {
            var error = errors.Translate(exception, "CreateInstances", cancelled: false).Status;
            return Refused(batch, failed, error);
        }
    }

    /// <param name="at">Told which wish is looked at, for what is wrong with it; -1 for all.</param>
    private async Task<CreateInstanceResult[]> CreateAsync(Wish[] wishes, Action<int> at, CancellationToken cancellationToken)
    {
        var placeFirst = placement;
        for (var attempt = 0; attempt < Limits.Instance.MutationAttempts; attempt++)
        {
            var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            var results = new CreateInstanceResult[wishes.Length];
            var drafts = new List<(int Index, InstanceBirth Birth)>(wishes.Length);
            for (var index = 0; index < wishes.Length; index++)
            {
                at(index);
                if (InstanceCreation.Known(view, wishes[index].Project, wishes[index].Request.Name, wishes[index].Key) is { } known)
                {
                    results[index] = new() { Instance = known };
                    continue;
                }

                var (request, project, key) = wishes[index];
                if (drafts.Any(draft => draft.Birth.Record.Metadata is var other && other.Name == request.Name && other.Project == project))
                {
                    throw ApiErrors.AlreadyExists("Instance", request.Name, $"Instance '{request.Name}' is asked for twice in this batch; take another name.");
                }

                var id = creation.NewId();
                var record = creation.NewRecord(request, request.Spec, project, id, view, key);
                ImageValidation.Check(record.Spec, view.Image(project, record.Spec.Image));
                drafts.Add((index, new(id, record, InstanceBirths.PinnedBy(record, view), null)));
            }

            if (drafts.Count == 0)
            {
                return results;
            }

            var births = Propose(placeFirst, wishes, drafts, view, at);
            var written = await InstanceBirths.WriteAsync(writer, births, cancellationToken);
            var after = await reads.IncludingAsync(written.Revision, cancellationToken);
            if (written.Succeeded)
            {
                for (var index = 0; index < births.Count; index++)
                {
                    results[drafts[index].Index] = new() { Instance = InstanceCreation.Rendered(births[index], after, written.Revision) };
                }

                return results;
            }

            // As in InstanceCreation: what changed shows in the next look, or else leadership was lost.
            if (births.TrueForAll(birth => InstanceBirths.PinnedBy(birth.Record, after)?.ModRevision == birth.Image?.ModRevision))
            {
                placeFirst = null;
            }
        }

        throw ApiErrors.Aborted("CONFLICT", "Instances of this batch are being created and deleted by others all the time; try again.");
    }

    /// <summary>What is proposed holds room: all of the batch is taken in, or nothing is held.</summary>
    private List<InstanceBirth> Propose(
        IFirstPlacement? placeFirst, Wish[] wishes, List<(int Index, InstanceBirth Birth)> drafts, ClusterView view, Action<int> at)
    {
        var births = new List<InstanceBirth>(drafts.Count);
        try
        {
            foreach (var (index, birth) in drafts)
            {
                at(index);
                var proposal = placeFirst?.Propose(birth.Id, birth.Record, view, dryRun: false);
                QueueAdmission.Check(wishes[index].Request, birth.Id, birth.Record, view, proposal, placement);
                births.Add(birth with { Proposal = proposal });
            }
        }
        catch
        {
            births.ForEach(birth => birth.Proposal?.Settle(PlacementOutcome.Refused, 0));
            throw;
        }

        at(-1);
        return births;
    }

    private async Task<CreateInstanceResult> DryRunAsync(CreateInstanceRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return new() { Instance = await creation.CreateAsync(request, cancellationToken) };
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception)
        {
            return new() { Error = Error(errors.Translate(exception, "CreateInstances", cancelled: false).Status) };
        }
    }

    private static CreateInstanceResult[] Refused(CreateInstanceRequest[] batch, int failed, Status status)
    {
        var others = failed < 0
            ? Error(status)
            : new OperationError
            {
                Code = (int)StatusCode.Aborted,
                Message = $"Nothing of this batch was created, because of request {failed + 1} of it ('{Validation.Printable.Quote(batch[failed].Name)}').",
            };
        return [.. batch.Select((_, index) => new CreateInstanceResult { Error = index == failed ? Error(status) : others })];
    }

    private static OperationError Error(Status status) => new() { Code = (int)status.StatusCode, Message = status.Detail };

    /// <summary>A valid request.</summary>
    private readonly record struct Wish(CreateInstanceRequest Request, string Project, RequestKey Key)
    {
        public static Wish Of(CreateInstanceRequest request)
        {
            var violations = new FieldViolations();
            var project = CreateValidation.Check(request, violations);
            violations.ThrowIfAny();
            return new(request, project, InstanceCreation.KeyOf(request, project));
        }
    }
}
