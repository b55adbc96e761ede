using Hypervisor.Agent.Drivers;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// The node's runners, one per instance that somebody named: made when something is first wished of it, let go when it retires.
/// Beside them what runtimes and network said they hold: the two together say what is unclaimed.
/// </summary>
internal sealed class RunnerSet(RunnerServices services)
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<string, Runner> _runners = new(StringComparer.Ordinal);
    private readonly Dictionary<Runner, Task> _running = [];
    private readonly NodeHoldings _holdings = new(services.Drivers.Select(driver => driver.Type), services.Network is not null);
    private readonly TaskCompletionSource<bool> _broken = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationToken _stopping;
    private bool _synced;

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _runners.Count;
            }
        }
    }

    /// <summary>
    /// Before the first wish, and until cancelled; then it ends the runners, and no instance. Throws when a runner breaks, which is
    /// a bug.
    /// </summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _stopping = stopping.Token;
        try
        {
            await Shared.WaitAsync(_broken.Task, cancellationToken);
        }
        finally
        {
            stopping.Cancel();
            List<Task> ending;
            lock (_gate)
            {
                ending = [.. _running.Values];
            }

            await Task.WhenAll(ending).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Null for an instance that has none.</summary>
    public Runner? Find(string uid)
    {
        lock (_gate)
        {
            return _runners.GetValueOrDefault(uid);
        }
    }

    /// <summary>Gives the runner of an instance its wish; one that has just retired is followed by a new one.</summary>
    /// <param name="type">Of the instance, or unspecified when that is not known.</param>
    public Acceptance Tell(string uid, InstanceType type, Func<Runner, Acceptance> wish)
    {
        while (true)
        {
            Runner? runner;
            var isNew = false;
            lock (_gate)
            {
                if (!_runners.TryGetValue(uid, out runner))
                {
                    // "Nothing there" only when everybody has said so who might hold it; the runner asks for itself otherwise.
                    runner = new Runner(new InstanceId(uid), _holdings.RulesOut(uid, type) ? Observation.Absent : Observation.Unknown, services);
                    _runners.Add(uid, runner);
                    isNew = true;
                }
            }

            var answer = wish(runner);
            if (isNew)
            {
                Supervise(runner);
                if (runner.Observed != Observation.Absent)
                {
                    // It may have been unclaimed until now.
                    ReportUnclaimed();
                }
            }

            if (answer != Acceptance.Retired)
            {
                return answer;
            }

            lock (_gate)
            {
                if (_runners.TryGetValue(uid, out var present) && ReferenceEquals(present, runner))
                {
                    _runners.Remove(uid);
                    _holdings.Left(runner.Id, runner.Observed);
                }
            }
        }
    }

    private void Supervise(Runner runner)
    {
        var ended = RunAsync(runner);
        lock (_gate)
        {
            if (!ended.IsCompleted)
            {
                _running[runner] = ended;
            }
        }

        async Task RunAsync(Runner runner)
        {
            try
            {
                await runner.RunAsync(_stopping);
            }
            catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception bug)
            {
                _broken.TrySetException(bug);
                return;
            }
            finally
            {
                lock (_gate)
                {
                    _running.Remove(runner);
                }
            }

            lock (_gate)
            {
                if (_runners.TryGetValue(runner.Id.Value, out var present) && ReferenceEquals(present, runner))
                {
                    _runners.Remove(runner.Id.Value);
                    _holdings.Left(runner.Id, runner.Observed);
                }
            }

            ReportUnclaimed();
        }
    }

    /// <summary>The runtime may hold something else of this instance than it did.</summary>
    public void Hint(InstanceId id)
    {
        Runner? runner;
        lock (_gate)
        {
            _runners.TryGetValue(id.Value, out runner);
        }

        runner?.Hint();
    }

    /// <summary>A snapshot of the assignments is complete.</summary>
    /// <param name="named">Everything in it.</param>
    /// <returns>Runners of what is assigned here and not in it.</returns>
    public IReadOnlyList<Runner> Synced(HashSet<string> named)
    {
        lock (_gate)
        {
            _synced = true;
            return [.. _runners.Where(pair => !named.Contains(pair.Key)).Select(pair => pair.Value).Where(runner => runner.Desired is not null)];
        }
    }

    /// <summary>A runtime, or <see cref="NodeHoldings.Network"/>, is about to be asked what it holds; the number goes to <c>Listed</c>.</summary>
    public long BeginListing(InstanceType source)
    {
        lock (_gate)
        {
            return _holdings.Begin(source);
        }
    }

    /// <summary>A runtime has answered: whoever saw something else of it looks again, and what nobody names is unclaimed.</summary>
    public void Listed(InstanceType runtime, long listing, IEnumerable<DriverInstance> held)
    {
        List<Runner> differing;
        lock (_gate)
        {
            _holdings.Replace(runtime, listing, held);
            differing = [.. _runners.Values.Where(runner => _holdings.Differs(runtime, runner.Id, runner.Type, runner.Observed))];
        }

        foreach (var runner in differing)
        {
            runner.Hint();
        }

        ReportUnclaimed();
    }

    /// <summary>The network has answered.</summary>
    public void Listed(long listing, IEnumerable<InstanceId> attached)
    {
        lock (_gate)
        {
            _holdings.Replace(listing, attached);
        }

        ReportUnclaimed();
    }

    /// <summary>Nothing before a snapshot is complete: until then nobody knows who is named.</summary>
    public void ReportUnclaimed()
    {
        lock (_gate)
        {
            if (_synced && _holdings.Without(_runners.Keys) is { } report)
            {
                services.Reporter.Unclaimed(report);
            }
        }
    }
}
