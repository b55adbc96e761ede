using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>One watch for all instances; tells when each is seen as it is wanted.</summary>
internal sealed class InstanceWatcher : IAsyncDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    private readonly Dictionary<string, (Func<Instance, bool> Wanted, TaskCompletionSource Seen)> _expected = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _caughtUp = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;

    public static async Task<InstanceWatcher> StartAsync(LocalCluster cluster)
    {
        var watcher = new InstanceWatcher();
        watcher._loop = watcher.RunAsync(new ComputeService.ComputeServiceClient(cluster.OpenChannel()));
        await watcher._caughtUp.Task.WaitAsync(TimeSpan.FromSeconds(10), RealTime.Clock);
        return watcher;
    }

    public Task RunsAsync(string name) => IsAsync(name, instance => instance.Status?.State == InstanceState.Running);

    /// <summary>From the next change of it on: what it is now does not count.</summary>
    public Task IsAsync(string name, Func<Instance, bool> wanted)
    {
        var seen = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_expected)
        {
            _expected[name] = (wanted, seen);
        }

        return seen.Task.WaitAsync(_patience, RealTime.Clock);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task RunAsync(ComputeService.ComputeServiceClient client)
    {
        try
        {
            using var call = client.WatchInstances(new WatchInstancesRequest(), cancellationToken: _stop.Token);
            await foreach (var change in call.ResponseStream.ReadAllAsync(_stop.Token))
            {
                if (change.Type == WatchEventType.Bookmark)
                {
                    _caughtUp.TrySetResult();
                }
                else if (change.Instance is { } instance)
                {
                    lock (_expected)
                    {
                        if (_expected.TryGetValue(instance.Metadata.Name, out var expected) && expected.Wanted(instance))
                        {
                            _expected.Remove(instance.Metadata.Name);
                            expected.Seen.SetResult();
                        }
                    }
                }
            }
        }
        catch (RpcException) when (_stop.IsCancellationRequested)
        {
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
        }
    }
}
