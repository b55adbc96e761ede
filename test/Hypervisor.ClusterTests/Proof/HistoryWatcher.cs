using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Histories;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>Watches all instances through every interruption, at one server after the other, and notes what it was told.</summary>
internal sealed class HistoryWatcher : IAsyncDisposable
{
    private readonly IReadOnlyList<ComputeService.ComputeServiceClient> _servers;
    private readonly CancellationTokenSource _stop = new();
    private readonly List<WatchStep> _steps = [];
    private readonly Task _loop;
    private long _version;
    private int _server;
    private bool _disposed;

    public HistoryWatcher(IReadOnlyList<ComputeService.ComputeServiceClient> servers, int first)
    {
        (_servers, _server) = (servers, first);
        _loop = RunAsync();
    }

    /// <summary>To be read when it is disposed.</summary>
    public IReadOnlyList<WatchStep> Steps => _steps;

    public Task ReachesAsync(long revision) => RealTime.UntilAsync($"the watch reaches {revision}", TimeSpan.FromSeconds(60), () =>
    {
        if (_loop.IsFaulted)
        {
            throw new InvalidOperationException("The watcher ended.", _loop.Exception);
        }

        return new ResourceVersion(Interlocked.Read(ref _version)).Revision >= revision;
    });

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
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
                _steps.Add(new WatchStep(WatchStepKind.Begun, new ResourceVersion(_version).Revision));
                var request = new WatchInstancesRequest { ResourceVersion = _version };
                using var call = _servers[_server].WatchInstances(request, cancellationToken: _stop.Token);
                await foreach (var told in call.ResponseStream.ReadAllAsync(_stop.Token))
                {
                    Take(told);
                }
            }
            catch (RpcException)
            {
                // The next server goes on where this one was.
                _server = (_server + 1) % _servers.Count;
                await Task.Delay(TimeSpan.FromMilliseconds(50), RealTime.Clock);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
            }
        }
    }

    private void Take(WatchInstancesResponse told)
    {
        var kind = told.Type switch
        {
            WatchEventType.Added => WatchStepKind.Added,
            WatchEventType.Modified => WatchStepKind.Modified,
            WatchEventType.Deleted => WatchStepKind.Deleted,
            WatchEventType.Bookmark => WatchStepKind.Bookmark,
            _ => WatchStepKind.Resync,
        };
        var state = told.Instance is null ? default : HistoryClient.StateOf(told.Instance);
        _steps.Add(new WatchStep(kind, new ResourceVersion(told.ResourceVersion).Revision)
        {
            Uid = told.Instance?.Metadata.Uid ?? "",
            Value = state.Value ?? "",
            Revision = state.Revision,
        });
        Interlocked.Exchange(ref _version, Math.Max(_version, told.ResourceVersion));
    }
}
