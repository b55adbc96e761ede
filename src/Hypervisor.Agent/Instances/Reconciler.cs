using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Node;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// Tells the runners (<see cref="RunnerSet"/>) of the instances that the control plane names what is wanted and when to look: from
/// the assignment stream, from the runtimes' hints, and from a periodic comparison with what runtimes and network hold.
/// </summary>
/// <remarks>
/// What the control plane does not name is never touched (NoGhostKill): a stream that breaks off, an empty snapshot and a
/// runtime that cannot answer all lead to nothing being done. Instances found here and named by nobody are reported as
/// unclaimed once a snapshot is complete and their runtime has answered.
/// </remarks>
internal sealed partial class Reconciler(NodeState node, IControlPlane controlPlane, RunnerServices services, ILogger<Reconciler> logger)
{
    private readonly RunnerSet _runners = new(services);
    private readonly RemovedEpochs _removed = new(Limits.RememberedRemovals);

    /// <summary>Instances that have a runner.</summary>
    public int Count => _runners.Count;

    /// <summary>The copy of an instance that is held or wanted here, and its driver; null for one that is not known (yet).</summary>
    public (Epoch Epoch, IInstanceDriver Driver)? Find(string uid) =>
        _runners.Find(uid)?.Desired is { } desired && services.DriverOf(desired.Spec.Type) is { } driver ? (new Epoch(desired.Epoch), driver) : null;

    /// <summary>Until cancelled; the instances go on. Throws when a runner breaks, which is a bug.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        List<Func<CancellationToken, Task>> loops = [_runners.RunAsync, WatchAssignmentsAsync];
        foreach (var driver in services.Drivers)
        {
            var comparison = new Comparison(() => driver.Name, token => CompareAsync(driver, token), services, logger);
            loops.Add(comparison.RunAsync);
            loops.Add(token => WatchDriverAsync(driver, comparison, token));
        }

        if (services.Network is { } network)
        {
            loops.Add(new Comparison(() => "The node's network", token => CompareAsync(network, token), services, logger).RunAsync);
        }

        await Together.RunAsync(cancellationToken, loops);
    }

    private async Task WatchAssignmentsAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.ReconnectMaximum, services.Time, services.Random);
        while (true)
        {
            using var lifetime = new CancellationTokenSource(Limits.AssignmentStreamLifetime, services.Time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, lifetime.Token);
            try
            {
                var request = new WatchAssignmentsRequest { NodeUid = node.Id.Value, ResourceVersion = node.AppliedVersion.Value };
                var named = new HashSet<string>(StringComparer.Ordinal);
                var complete = false;
                await foreach (var @event in controlPlane.WatchAssignmentsAsync(request, linked.Token))
                {
                    backoff.Reset();
                    Apply(@event, complete ? null : named);
                    if (@event.EventCase == AssignmentEvent.EventOneofCase.Synced)
                    {
                        complete = true;
                        Complete(named);
                    }

                    node.Applied(new ResourceVersion(@event.ResourceVersion));
                }

                LogStreamEnded("the server closed it");
            }
            catch (Exception failure) when (failure is RpcException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                if (lifetime.IsCancellationRequested)
                {
                    continue;
                }

                LogStreamEnded(failure is RpcException rpc ? $"{rpc.StatusCode}: {rpc.Status.Detail}" : failure.Message);
                if (failure is RpcException { StatusCode: StatusCode.Unauthenticated or StatusCode.NotFound })
                {
                    node.RequestRegistration();
                }
            }

            await backoff.WaitAsync(cancellationToken);
        }
    }

    private void Apply(AssignmentEvent @event, HashSet<string>? named)
    {
        switch (@event.EventCase)
        {
            case AssignmentEvent.EventOneofCase.Put:
                named?.Add(@event.Put.Uid);
                Assign(@event.Put);
                break;
            case AssignmentEvent.EventOneofCase.Remove:
                named?.Add(@event.Remove.Uid);
                Remove(@event.Remove);
                break;
        }
    }

    private void Assign(Assignment assignment)
    {
        if (Refuses(assignment.Uid))
        {
            return;
        }

        var epoch = new Epoch(assignment.Epoch);
        if (epoch <= _removed.Of(assignment.Uid))
        {
            LogOlder(assignment.Uid, assignment.Epoch);
            return;
        }

        node.Seen(epoch);
        if (_runners.Tell(assignment.Uid, assignment.Spec.Type, runner => runner.Assign(assignment)) == Acceptance.Older)
        {
            LogOlder(assignment.Uid, assignment.Epoch);
        }
    }

    private void Remove(Removal removal)
    {
        if (Refuses(removal.Uid))
        {
            return;
        }

        var epoch = new Epoch(removal.Epoch);
        node.Seen(epoch);
        _removed.Add(removal.Uid, epoch);
        _runners.Tell(removal.Uid, removal.Type, runner => runner.Remove(epoch, removal.Type));
    }

    /// <summary>
    /// Uids become paths of folders and cgroups that are emptied as root: one that is not a uid could name somebody else's, and
    /// the empty one all of them. So the control plane is not trusted in this.
    /// </summary>
    private bool Refuses(string uid)
    {
        if (InstanceUid.IsValid(uid))
        {
            return false;
        }

        LogNoUid(Printable(uid));
        return true;

        static string Printable(string text) =>
            string.Concat(text.Take(Limits.LoggedUidLength).Select(character => char.IsControl(character) ? '?' : character));
    }

    /// <summary>The snapshot named everything: who is not in it is nobody's here, which allows nothing.</summary>
    private void Complete(HashSet<string> named)
    {
        foreach (var runner in _runners.Synced(named))
        {
            LogUnnamed(runner.Id.Value);
            runner.Unassign();
        }

        services.Reporter.Resend();
        _runners.ReportUnclaimed();
    }

    private async Task WatchDriverAsync(IInstanceDriver driver, Comparison comparison, CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.RetryMaximum, services.Time, services.Random);
        var told = "";
        while (true)
        {
            try
            {
                await using var hints = driver.WatchAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
                var next = hints.MoveNextAsync();

                // Subscribed now; what happened before is found by looking.
                comparison.Hint();
                while (await next)
                {
                    backoff.Reset();
                    told = "";
                    _runners.Hint(hints.Current);
                    next = hints.MoveNextAsync();
                }
            }
            catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
            {
                // Many nodes never have libvirt: once is enough, until it is something else.
                if (failure.Message != told)
                {
                    told = failure.Message;
                    LogDriverWatchEnded(driver.Name, told);
                }
            }

            await backoff.WaitAsync(cancellationToken);
        }
    }

    private async Task CompareAsync(IInstanceDriver driver, CancellationToken cancellationToken)
    {
        var listing = _runners.BeginListing(driver.Type);
        _runners.Listed(driver.Type, listing, await driver.ListAsync(cancellationToken));
    }

    private async Task CompareAsync(INodeNetwork network, CancellationToken cancellationToken)
    {
        var listing = _runners.BeginListing(NodeHoldings.Network);
        _runners.Listed(listing, await network.ListAsync(cancellationToken));
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The assignment stream ended ({Reason}); instances go on, reconnecting")]
    private partial void LogStreamEnded(string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "An assignment of instance {Instance} under epoch {Epoch} is older than what is known here; ignored")]
    private partial void LogOlder(string instance, long epoch);

    [LoggerMessage(Level = LogLevel.Error, Message = "The control plane named an instance {Uid}, which is not a lower-case UUID; it is ignored. Update the server, or look who answers at its address")]
    private partial void LogNoUid(string uid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Instance {Instance} is not among the assignments any more; it is left as it is")]
    private partial void LogUnnamed(string instance);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The event stream of {Driver} ended ({Reason}); subscribing again until it works")]
    private partial void LogDriverWatchEnded(string driver, string reason);
}
