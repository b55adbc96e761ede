using Hypervisor.Bench.Fleets;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Bench.Replays;

/// <summary>
/// A recorded demand against the scheduler's own decisions in the trace's time: no server, no store, no network, and nobody dies. A placement holds
/// its room from its decision until its delete; what fits nowhere waits, the oldest first, until something leaves.
/// </summary>
internal sealed class Replay
{
    private readonly DemandTrace _trace;
    private readonly ReplaySettings _settings;
    private readonly Fleet _fleet = new();
    private readonly RequestClasses _classes;
    private readonly Dictionary<Demand, PlacementRequest> _requests = new(ReferenceEqualityComparer.Instance);
    private readonly SortedDictionary<int, DemandEvent> _waiting = [];
    private readonly List<double> _waits = [];
    private readonly ReplaySamples _samples;
    private readonly ReplayResult _result;

    public Replay(DemandTrace trace, IReadOnlyList<SimulatedNode> nodes, ReplaySettings settings)
    {
        (_trace, _settings, _classes) = (trace, settings, new(_fleet));
        _result = new() { Settings = settings };
        foreach (var node in nodes)
        {
            _fleet.Describe(new(Describe(node), (1, 1, 1)));
        }

        _samples = new(_fleet, nodes, trace);
    }

    public ReplayResult Run()
    {
        foreach (var each in _trace.Events)
        {
            _samples.Pass(each.At);
            if (each.Wanted is not null)
            {
                if (!Place(each))
                {
                    _waiting.Add(each.Instance, each);
                    _result.PendingPeak = Math.Max(_result.PendingPeak, _waiting.Count);
                }
            }
            else if (_waiting.Remove(each.Instance))
            {
                _result.Unplaced++;
            }
            else
            {
                _fleet.Unreserve(IdOf(each.Instance));
                PlaceWaiting(each.At);
            }
        }

        _result.Unplaced += _waiting.Count;
        _result.WaitP99 = _waits.Count == 0 ? TimeSpan.Zero : TimeSpan.FromMilliseconds(Metric.Percentile(_waits, 0.99));
        _samples.WriteTo(_result);
        return _result;
    }

    /// <summary>What asks for the same as one that found no room finds none either.</summary>
    private void PlaceWaiting(TimeSpan now)
    {
        var refused = new HashSet<Demand>(ReferenceEqualityComparer.Instance);
        foreach (var each in _waiting.Values.ToList())
        {
            if (refused.Contains(each.Wanted!))
            {
                continue;
            }

            if (Place(each))
            {
                _waiting.Remove(each.Instance);
                _waits.Add((now - each.At).TotalMilliseconds);
            }
            else
            {
                refused.Add(each.Wanted!);
            }
        }
    }

    private bool Place(DemandEvent each)
    {
        var demand = each.Wanted!;
        if (!_requests.TryGetValue(demand, out var request))
        {
            // The script's pools know no devices: who asks for one is placed by everything else.
            request = PlacementRequest.Of(IdOf(each.Instance), demand.Project, demand.Labels, demand.Spec, _settings.Strategy) with { Devices = default };
            _requests.Add(demand, request);
        }

        var known = _classes.Of(request);
        var ranking = known.Decide(_fleet, _classes);
        if (ranking.First < 0)
        {
            return false;
        }

        _fleet.Reserve(IdOf(each.Instance), new(_fleet.NodeAt(ranking.First)!.Id, request.Reserve, known.Kind, request.Ports));
        _result.Placed++;
        return true;
    }

    private CandidateNode Describe(SimulatedNode node)
    {
        var whole = ResourcesOf(node);
        var inventory = new NodeInventory
        {
            Region = node.Pool.Region,
            Zone = node.Zone,
            Capacity = whole.ToResources(),
            Accelerator = Accelerator.Kvm,
            Runtimes = { node.Pool.Types.Select(type => new RuntimeInfo { Type = type, Driver = "simulated", Available = true }) },
        };
        var capacity = whole with
        {
            CpuMillicores = (long)(whole.CpuMillicores * _settings.OvercommitCpu),
            MemoryBytes = (long)(whole.MemoryBytes * _settings.OvercommitMemory),
        };
        return new(new(node.Name), node.Name, NodeScheduling.Schedulable, NodeLiveness.Ready, inventory, node.Pool.Labels, capacity, default, 0, []);
    }

    public static ResourceAmount ResourcesOf(SimulatedNode node) => new(node.Pool.Cpus * 1000L, node.Pool.MemoryBytes, node.Pool.DiskBytes);

    private static InstanceId IdOf(int instance) => new(instance.ToString(System.Globalization.CultureInfo.InvariantCulture));
}
