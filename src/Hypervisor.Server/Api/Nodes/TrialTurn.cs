using Google.Rpc;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>One copy of the fleet at a time, and not for ever: what is tried takes a core and memory as the leader's own fleet does.</summary>
internal sealed class TrialTurn(TimeProvider time) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);

    /// <exception cref="Grpc.Core.RpcException">RESOURCE_EXHAUSTED while another is tried; DEADLINE_EXCEEDED.</exception>
    public async Task<T> TryAsync<T>(Func<CancellationToken, T> ask, CancellationToken cancellationToken)
    {
        await TakeAsync(cancellationToken);
        try
        {
            using var deadline = new CancellationTokenSource(Limits.Trials.Deadline, time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
            return ask(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw ApiErrors.Error(
                Code.DeadlineExceeded, $"It was not found out within {Limits.Trials.Deadline.TotalSeconds} s; ask about fewer nodes and instances at once.");
        }
        finally
        {
            _turn.Release();
        }
    }

    private async Task TakeAsync(CancellationToken cancellationToken)
    {
        using var patience = new CancellationTokenSource(Limits.Trials.Turn, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        try
        {
            await _turn.WaitAsync(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw ApiErrors.ResourceExhausted("Another what-if or rebalance is tried on this server; ask again, or ask another server.", Limits.Trials.Turn);
        }
    }

    public void Dispose() => _turn.Dispose();
}
