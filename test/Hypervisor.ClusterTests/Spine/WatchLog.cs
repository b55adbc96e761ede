using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>
/// A client that watches all instances through every interruption, always resuming from the last version it saw, and fails on
/// anything that an exact watch must not do: going back, adding what is there, changing or deleting what is not.
/// </summary>
internal sealed class WatchLog : IAsyncDisposable
{
    private readonly LocalCluster _cluster;
    private readonly CancellationTokenSource _stop = new();
    private readonly Dictionary<string, Instance> _instances = [];
    private readonly List<(long Version, List<(string, long)> Instances)> _states = [(0, [])];
    private readonly List<string> _violations = [];
    private readonly Task _loop;
    private long _version;

    private WatchLog(LocalCluster cluster)
    {
        _cluster = cluster;
        _loop = RunAsync();
    }

    public static WatchLog Start(LocalCluster cluster) => new(cluster);

    /// <summary>Waits until the watch has reached the list's revision, and compares what both knew then.</summary>
    public async Task RequireEqualsListAsync(ListInstancesResponse list)
    {
        var expected = list.Instances.Select(instance => (instance.Metadata.Uid, instance.Metadata.ResourceVersion)).Order().ToList();
        List<(string, long)> watched = [];
        try
        {
            // A revision may come in several messages: when the first of them is there, the others may be on the way.
            await RealTime.UntilAsync("the watch reaches the list", TimeSpan.FromSeconds(15), () =>
            {
                lock (_instances)
                {
                    watched = _states.LastOrDefault(state => state.Version <= list.List.ResourceVersion).Instances;
                    return _version >= list.List.ResourceVersion && (_violations.Count > 0 || expected.SequenceEqual(watched));
                }
            });
        }
        catch (TimeoutException)
        {
            Xunit.Assert.Equal(expected, watched);
            throw;
        }

        lock (_instances)
        {
            Xunit.Assert.Empty(_violations);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var request = new WatchInstancesRequest { Project = "-", ResourceVersion = _version };
                using var call = _cluster.Compute.WatchInstances(request, cancellationToken: _stop.Token);
                await foreach (var change in call.ResponseStream.ReadAllAsync(_stop.Token))
                {
                    lock (_instances)
                    {
                        Take(change);
                    }
                }
            }
            catch (RpcException)
            {
                // The server was killed; the next call resumes.
                await Task.Delay(TimeSpan.FromMilliseconds(20), RealTime.Clock);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
            }
        }
    }

    private void Take(WatchInstancesResponse change)
    {
        if (change.ResourceVersion < _version)
        {
            _violations.Add($"{change.Type} at {change.ResourceVersion} after {_version}");
        }

        switch (change.Type)
        {
            case WatchEventType.Added when !_instances.TryAdd(change.Instance.Metadata.Uid, change.Instance):
                _violations.Add($"ADDED twice: {change.Instance.Metadata.Name}");
                break;
            case WatchEventType.Modified:
                if (!_instances.TryGetValue(change.Instance.Metadata.Uid, out var old))
                {
                    _violations.Add($"MODIFIED before ADDED: {change.Instance.Metadata.Name}");
                }
                else if (old.Metadata.ResourceVersion >= change.Instance.Metadata.ResourceVersion)
                {
                    _violations.Add($"MODIFIED twice: {change.Instance.Metadata.Name} at {change.Instance.Metadata.ResourceVersion}");
                }

                _instances[change.Instance.Metadata.Uid] = change.Instance;
                break;
            case WatchEventType.Deleted when !_instances.Remove(change.Instance.Metadata.Uid):
                _violations.Add($"DELETED before ADDED: {change.Instance.Metadata.Name}");
                break;
            case WatchEventType.Resync:
                _violations.Add($"RESYNC at {change.ResourceVersion}: nothing was compacted here");
                break;
        }

        _version = Math.Max(_version, change.ResourceVersion);
        _states.Add((_version, [.. _instances.Values.Select(instance => (instance.Metadata.Uid, instance.Metadata.ResourceVersion)).Order()]));
    }
}
