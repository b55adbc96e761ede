using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Node;
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
/// A batch is judged as a whole when the control plane finds it invalid, so it is halved until what is wrong stands alone
/// and is dropped: one bad report silences no other.
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
    public void Unclaimed(UnclaimedReport report)
    {
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
            var (batch, next) = Take();
            if (batch.Count == 0)
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
                if (await SendAsync(batch, cancellationToken))
                {
                    backoff.Reset();
                }
                else
                {
                    await backoff.WaitAsync(cancellationToken);
                }
            }
            catch (RpcException failure) when (!cancellationToken.IsCancellationRequested)
            {
                LogReportFailed(failure.StatusCode, failure.Status.Detail, batch.Reports.Count);
                if (failure.StatusCode is StatusCode.Unauthenticated or StatusCode.NotFound)
                {
                    node.RequestRegistration();
                }

                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    private TimeSpan Now => time.GetElapsedTime(_origin);

    private (Batch Batch, TimeSpan? Next) Take()
    {
        lock (_gate)
        {
            var now = Now;
            List<Entry> due = [];
            TimeSpan? next = null;
            foreach (var entry in _entries.Values)
            {
                if (entry.Due is not { } at)
                {
                    continue;
                }

                if (at > now)
                {
                    next = next is { } earlier && earlier < at - now ? earlier : at - now;
                }
                else if (due.Count < Limits.ReportsPerBatch)
                {
                    due.Add(entry);
                }
            }

            var removed = _removed.Take(Limits.ReportsPerBatch).Select(pair => new Removal { Uid = pair.Key, Epoch = pair.Value });
            return (new Batch(due, [.. removed], _unclaimedDirty ? _unclaimed : null), next);
        }
    }

    /// <summary>False when something has to be sent again after a pause.</summary>
    private async Task<bool> SendAsync(Batch batch, CancellationToken cancellationToken)
    {
        try
        {
            return Settle(batch, await controlPlane.ReportStatusAsync(batch.ToRequest(node.Id), cancellationToken));
        }
        catch (RpcException failure) when (failure.StatusCode == StatusCode.InvalidArgument && batch.Count == 1)
        {
            // Sent again it would be refused again, for ever. After a reconnect the control plane is asked once more.
            LogRefused(batch.Subject, failure.Status.Detail);
            Settle(batch, [ReportResult.Accepted]);
            return true;
        }
        catch (RpcException failure) when (failure.StatusCode == StatusCode.InvalidArgument)
        {
            LogSplit(batch.Count, failure.Status.Detail);
        }

        var (one, other) = batch.Split();
        return await SendAsync(one, cancellationToken) & await SendAsync(other, cancellationToken);
    }

    private bool Settle(Batch batch, ReportStatusResponse response)
    {
        Settle(batch, response.Results);
        return response.Results.Count == batch.Reports.Count;
    }

    private void Settle(Batch batch, IReadOnlyList<ReportResult> results)
    {
        lock (_gate)
        {
            foreach (var (entry, result) in batch.Reports.Zip(results))
            {
                if (result == ReportResult.Retry)
                {
                    // A pause of its own: the others have nothing to wait for.
                    entry.Due = Now + Backoff.DelayAfter(++entry.Retries, Limits.RetryMinimum, Limits.ReconnectMaximum, random.NextUnit());
                    continue;
                }

                // Stale and unknown are settled too: the assignments will say what became of the instance.
                (entry.Due, entry.Retries) = (null, 0);
                if (result != ReportResult.Accepted)
                {
                    LogNotAccepted(entry.Report.Uid, entry.Report.Epoch, result);
                }
            }

            foreach (var removal in batch.Removed)
            {
                if (_removed.TryGetValue(removal.Uid, out var epoch) && epoch == removal.Epoch)
                {
                    _removed.Remove(removal.Uid);
                }
            }

            if (batch.Unclaimed is not null && ReferenceEquals(batch.Unclaimed, _unclaimed))
            {
                _unclaimedDirty = false;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Reporting {Count} statuses failed ({Code}: {Detail}); trying again")]
    private partial void LogReportFailed(StatusCode code, string detail, int count);

    [LoggerMessage(Level = LogLevel.Error, Message = "The control plane refuses the report of {Subject} as invalid ({Detail}); it is dropped")]
    private partial void LogRefused(string subject, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Something among {Count} reports is invalid ({Detail}); sending them in halves")]
    private partial void LogSplit(int count, string detail);

    [LoggerMessage(Level = LogLevel.Information, Message = "The status of instance {Instance} under epoch {Epoch} was answered {Result}")]
    private partial void LogNotAccepted(string instance, long epoch, ReportResult result);

    /// <summary>A new one is made for each new status, so that one replaced while under way stays due.</summary>
    private sealed class Entry(StatusReport report)
    {
        public StatusReport Report { get; } = report;

        /// <summary>When to send; null once settled.</summary>
        public TimeSpan? Due { get; set; }

        /// <summary>How often in a row it was answered with <see cref="ReportResult.Retry"/>.</summary>
        public int Retries { get; set; }
    }

    /// <summary>What travels in one call.</summary>
    private sealed record Batch(List<Entry> Reports, List<Removal> Removed, UnclaimedReport? Unclaimed)
    {
        public int Count => Reports.Count + Removed.Count + (Unclaimed is null ? 0 : 1);

        /// <summary>Of a batch of one.</summary>
        public string Subject => Reports.Count > 0 ? $"the status of instance {Reports[0].Report.Uid}"
            : Removed.Count > 0 ? $"the removal of instance {Removed[0].Uid}"
            : "unclaimed instances";

        /// <summary>Two smaller ones, of a batch of at least two.</summary>
        public (Batch One, Batch Other) Split() => this switch
        {
            { Reports.Count: > 0 } when Reports.Count < Count => (this with { Removed = [], Unclaimed = null }, this with { Reports = [] }),
            { Removed.Count: > 0, Unclaimed: not null } => (this with { Unclaimed = null }, this with { Removed = [] }),
            _ => (
                new Batch(Reports[..(Reports.Count / 2)], Removed[..(Removed.Count / 2)], null),
                new Batch(Reports[(Reports.Count / 2)..], Removed[(Removed.Count / 2)..], null)),
        };

        public ReportStatusRequest ToRequest(NodeId node)
        {
            var request = new ReportStatusRequest { NodeUid = node.Value, Unclaimed = Unclaimed };
            request.Reports.AddRange(Reports.Select(entry => entry.Report));
            request.Removed.AddRange(Removed);
            return request;
        }
    }
}
