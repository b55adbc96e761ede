using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>A second view over a store that somebody else owns.</summary>
internal sealed class Following : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly ClusterState _state;
    private readonly Task _running;

    public Following(IClusterStore store)
    {
        _state = new(store, new FakeTimeProvider(), new SeededRandom(3), NullLogger<ClusterState>.Instance);
        _running = _state.RunAsync(_stop.Token);
    }

    public async Task<ClusterView> LoadAsync(long revision) =>
        await _state.WaitForRevisionAsync(revision, TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        try
        {
            await _running;
        }
        catch (OperationCanceledException)
        {
            // That is how following ends.
        }

        _stop.Dispose();
    }
}
