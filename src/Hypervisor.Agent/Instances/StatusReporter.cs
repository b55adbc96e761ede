using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Node;
using Hypervisor.Agent.Waiting;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// Brings to the control plane what runners observe. Only the latest status of an instance counts; what is equal to the
/// last one is not sent again, except after a reconnect.
/// </summary>
/// <remarks>
/// One call at a time: a status that arrives while none is under way is sent at once, those that arrive meanwhile make up
/// the next batch. So there is no lingering to tune: one start waits for nothing, a thousand travel together.
/// </remarks>
internal sealed partial class StatusReporter(
    NodeState node, IControlPlane controlPlane, TimeProvider time, IRandomSource random, ILogger<StatusReporter> logger)
{
    private readonly Lock _gate = new();
    private readonly Signal _signal = new();
    private readonly SortedDictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> _removed = new(StringComparer.Ordinal);
    private readonly long _origin = time.GetTimestamp();
    private UnclaimedReport? _unclaimed;
    private bool _unclaimedDirty;

    /// <summary>Takes the place of whatever was to be reported of this instance.</summary>
    /// <param name="delay">How long a better one may still be waited for.</param>
    public void Report(InstanceId id, Epoch epoch, InstanceStatus status, TimeSpan delay = default)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(id.Value, out var entry) && entry.Report.Epoch == epoch.Value && entry.Report.Status.Equals(status))
            {
                return;
            }

            _entries[id.Value] = new Entry(new StatusReport { Uid = id.Value, Epoch = epoch.Value, Status = status }) { Due = Now + delay };
        }

        _signal.Set();
    }

    /// <summary>Nothing of this instance up to this epoch is left on the node. May be repeated.</summary>
    public void Removed(InstanceId id, Epoch epoch)
    {
        lock (_gate)
        {
            _removed[id.Value] = Math.Max(epoch.Value, _removed.GetValueOrDefault(id.Value));
            if (_entries.TryGetValue(id.Value, out var entry) && entry.Report.Epoch <= epoch.Value)
            {
                _entries.Remove(id.Value);
            }
        }

        _signal.Set();
    }

    /// <summary>The instance is not this node's to report any more.</summary>
    public void Forget(InstanceId id)
    {
        lock (_gate)
        {
            _entries.Remove(id.Value);
        }
    }

    /// <summary>Replaces the node's list. Sorted by uid, at most <see cref="Limits.UnclaimedReported"/>.</summary>
    public void Unclaimed(IReadOnlyList<UnclaimedInstance> instances)
    {
        var report = new UnclaimedReport();
        report.Instances.AddRange(instances);
        lock (_gate)
        {
            if (_unclaimed is not null && _unclaimed.Equals(report))
            {
                return;
            }

            _unclaimed = report;
            _unclaimedDirty = true;
        }

        _signal.Set();
    }

    /// <summary>The control plane may have lost what it was told: everything is sent again.</summary>
    public void Resend()
    {
        lock (_gate)
        {
            foreach (var entry in _entries.Values)
            {
                entry.Due ??= Now;
            }

            _unclaimedDirty = _unclaimed is not null;
        }

        _signal.Set();
    }

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.ReconnectMaximum, time, random);
        using var timer = time.CreateTimer(static signal => ((Signal)signal!).Set(), _signal, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (true)
        {
            var (request, sent, next) = Take();
            if (request is null)
            {
                if (next is { } wait)
                {
                    timer.Change(wait, Timeout.InfiniteTimeSpan);
                }

                await _signal.WaitAsync(cancellationToken);
                continue;
            }

            try
            {
                var response = await controlPlane.ReportStatusAsync(request, cancellationToken);
                if (!Settle(request, sent, response))
                {
                    await backoff.WaitAsync(cancellationToken);
                    continue;
                }

                backoff.Reset();
            }
            catch (RpcException failure) when (!cancellationToken.IsCancellationRequested)
            {
                LogReportFailed(failure.StatusCode, failure.Status.Detail, request.Reports.Count);
                if (failure.StatusCode is StatusCode.Unauthenticated or StatusCode.NotFound)
                {
                    node.RequestRegistration();
                }

                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    private TimeSpan Now => time.GetElapsedTime(_origin);

    private (ReportStatusRequest? Request, List<Entry> Sent, TimeSpan? Next) Take()
    {
        lock (_gate)
        {
            var now = Now;
            var request = new ReportStatusRequest { NodeUid = node.Id.Value };
            List<Entry> sent = [];
            TimeSpan? next = null;
            foreach (var entry in _entries.Values)
            {
                if (entry.Due is not { } due)
                {
                    continue;
                }

                if (due > now)
                {
                    next = next is { } earlier && earlier < due - now ? earlier : due - now;
                }
                else if (sent.Count < Limits.ReportsPerBatch)
                {
                    sent.Add(entry);
                    request.Reports.Add(entry.Report);
                }
            }

            foreach (var (uid, epoch) in _removed.Take(Limits.ReportsPerBatch))
            {
                request.Removed.Add(new Removal { Uid = uid, Epoch = epoch });
            }

            if (_unclaimedDirty)
            {
                request.Unclaimed = _unclaimed;
            }

            var anything = sent.Count > 0 || request.Removed.Count > 0 || request.Unclaimed is not null;
            return (anything ? request : null, sent, next);
        }
    }

    /// <summary>False when something has to be sent again after a pause.</summary>
    private bool Settle(ReportStatusRequest request, List<Entry> sent, ReportStatusResponse response)
    {
        var settled = response.Results.Count == sent.Count;
        lock (_gate)
        {
            for (var i = 0; i < Math.Min(sent.Count, response.Results.Count); i++)
            {
                var (entry, result) = (sent[i], response.Results[i]);
                if (result == ReportResult.Retry)
                {
                    settled = false;
                    continue;
                }

                // Stale and unknown are settled too: the assignments will say what became of the instance.
                entry.Due = null;
                if (result != ReportResult.Accepted)
                {
                    LogNotAccepted(entry.Report.Uid, entry.Report.Epoch, result);
                }
            }

            foreach (var removal in request.Removed)
            {
                if (_removed.TryGetValue(removal.Uid, out var epoch) && epoch == removal.Epoch)
                {
                    _removed.Remove(removal.Uid);
                }
            }

            if (request.Unclaimed is not null && ReferenceEquals(request.Unclaimed, _unclaimed))
            {
                _unclaimedDirty = false;
            }
        }

        return settled;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Reporting {Count} statuses failed ({Code}: {Detail}); trying again")]
    private partial void LogReportFailed(StatusCode code, string detail, int count);

    [LoggerMessage(Level = LogLevel.Information, Message = "The status of instance {Instance} under epoch {Epoch} was answered {Result}")]
    private partial void LogNotAccepted(string instance, long epoch, ReportResult result);

    /// <summary>A new one is made for each new status, so that one replaced while under way stays due.</summary>
    private sealed class Entry(StatusReport report)
    {
        public StatusReport Report { get; } = report;

        /// <summary>When to send; null once settled.</summary>
        public TimeSpan? Due { get; set; }
    }
}
