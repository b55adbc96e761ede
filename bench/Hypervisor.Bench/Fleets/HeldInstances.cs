using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Fleets;

/// <summary>What one simulated agent holds, and what of it is still to be told. For any thread.</summary>
internal sealed class HeldInstances(FleetCounters counters)
{
    /// <summary>As the contract says.</summary>
    private const int ReportsPerCall = 256;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, (long Epoch, long Generation)> _held = new(StringComparer.Ordinal);
    private readonly Dictionary<string, StatusReport> _reports = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Removal> _removed = new(StringComparer.Ordinal);

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _held.Count;
            }
        }
    }

    /// <summary>False when it was held so already, and nothing follows from it.</summary>
    public bool Put(Assignment assignment)
    {
        lock (_gate)
        {
            var known = _held.TryGetValue(assignment.Uid, out var held);
            if (known && (held.Epoch > assignment.Epoch || held == (assignment.Epoch, assignment.Generation)))
            {
                return false;
            }

            _held[assignment.Uid] = (assignment.Epoch, assignment.Generation);
            counters.Hold(known ? 0 : 1);
            return true;
        }
    }

    /// <summary>Also of what is not held: the answer to a removal may have been lost.</summary>
    public void Remove(Removal removal)
    {
        lock (_gate)
        {
            if (_held.TryGetValue(removal.Uid, out var held) && held.Epoch <= removal.Epoch)
            {
                _held.Remove(removal.Uid);
                _reports.Remove(removal.Uid);
                counters.Hold(-1);
            }
        }
    }

    /// <summary>A status to be told, if the instance is still held so.</summary>
    public void Report(Assignment assignment, InstanceStatus status)
    {
        lock (_gate)
        {
            if (_held.TryGetValue(assignment.Uid, out var held) && held == (assignment.Epoch, assignment.Generation))
            {
                _reports[assignment.Uid] = new() { Uid = assignment.Uid, Epoch = assignment.Epoch, Status = status };
            }
        }
    }

    /// <summary>All that is held runs.</summary>
    public void ReportAll()
    {
        lock (_gate)
        {
            foreach (var (uid, (epoch, generation)) in _held)
            {
                _reports[uid] = new() { Uid = uid, Epoch = epoch, Status = new() { State = InstanceState.Running, ObservedGeneration = generation, Driver = "simulated" } };
            }
        }
    }

    public void ReportRemoved(Removal removal)
    {
        lock (_gate)
        {
            _removed[removal.Uid] = removal;
        }
    }

    /// <summary>What is to be told next; null when nothing is.</summary>
    public ReportStatusRequest? NextReport(string node)
    {
        lock (_gate)
        {
            if (_reports.Count + _removed.Count == 0)
            {
                return null;
            }

            var request = new ReportStatusRequest { NodeUid = node };
            request.Reports.Add(_reports.Values.Take(ReportsPerCall));
            request.Removed.Add(_removed.Values.Take(ReportsPerCall));
            return request;
        }
    }

    /// <summary>The server has them, but for those that it wants again.</summary>
    /// <returns>Whether it wants some again.</returns>
    public bool Told(ReportStatusRequest request, ReportStatusResponse response)
    {
        var again = false;
        lock (_gate)
        {
            foreach (var (report, result) in request.Reports.Zip(response.Results))
            {
                again |= result == ReportResult.Retry;
                if (result != ReportResult.Retry && _reports.TryGetValue(report.Uid, out var current) && ReferenceEquals(current, report))
                {
                    _reports.Remove(report.Uid);
                }
            }

            foreach (var removal in request.Removed)
            {
                _removed.Remove(removal.Uid);
            }
        }

        counters.Report(request.Reports.Count + request.Removed.Count);
        return again;
    }

    /// <summary>The machine went off.</summary>
    public void Lose()
    {
        lock (_gate)
        {
            counters.Hold(-_held.Count);
            _held.Clear();
            _reports.Clear();
            _removed.Clear();
        }
    }
}
