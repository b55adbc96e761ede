using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>Follows what is placed on a node, in millicores: each placement that ever was, not only those that are found at the end.</summary>
internal sealed class PlacedCpu : IAsyncDisposable
{
    private readonly LocalCluster _cluster;
    private readonly string _node;
    private readonly CancellationTokenSource _stop = new();
    private readonly Dictionary<string, long> _placed = [];
    private readonly Lock _lock = new();
    private readonly Task _watch;
    private long _version;
    private long _highest;

    private PlacedCpu(LocalCluster cluster, string node)
    {
        (_cluster, _node) = (cluster, node);
        _watch = WatchAsync();
    }

    public static PlacedCpu Follow(LocalCluster cluster, string node) => new(cluster, node);

    /// <summary>How much is there now, and the most that a placement has led to since this was asked last; 0 without any.</summary>
    public async Task<(long Now, long Highest)> ReadAsync()
    {
        var list = await _cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync("the watch reaches the list", TimeSpan.FromSeconds(15), async () =>
        {
            if (_watch.IsCompleted)
            {
                await _watch;
            }

            lock (_lock)
            {
                return _version >= list.List.ResourceVersion;
            }
        });
        lock (_lock)
        {
            var highest = _highest;
            _highest = 0;
            return (_placed.Values.Sum(), highest);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        try
        {
            await _watch;
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.Cancelled)
        {
        }

        _stop.Dispose();
    }

    private async Task WatchAsync()
    {
        using var call = _cluster.Compute.WatchInstances(new WatchInstancesRequest(), cancellationToken: _stop.Token);
        await foreach (var change in call.ResponseStream.ReadAllAsync(CancellationToken.None))
        {
            lock (_lock)
            {
                Take(change);
            }
        }
    }

    private void Take(WatchInstancesResponse change)
    {
        _version = Math.Max(_version, change.ResourceVersion);
        if (change.Instance is not { } instance)
        {
            return;
        }

        if (change.Type == WatchEventType.Deleted || instance.Placement?.Node != _node)
        {
            _placed.Remove(instance.Metadata.Uid);
            return;
        }

        var isNew = !_placed.ContainsKey(instance.Metadata.Uid);
        _placed[instance.Metadata.Uid] = instance.Spec.Resources.CpuMillicores;
        _highest = isNew ? Math.Max(_highest, _placed.Values.Sum()) : _highest;
    }
}
