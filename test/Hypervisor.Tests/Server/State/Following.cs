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
    private readonly Task _running;

    public Following(IClusterStore store)
    {
        State = new(store, new FakeTimeProvider(), new SeededRandom(3), NullLogger<ClusterState>.Instance);
        _running = State.RunAsync(_stop.Token);
    }

    public ClusterState State { get; }

    public async Task<ClusterView> LoadAsync(long revision) =>
        await State.WaitForRevisionAsync(revision, TestContext.Current.CancellationToken);

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
