using Grpc.Core;

namespace Hypervisor.Agent.Streams;

/// <summary>One writer at a time into a stream of answers; a reader that takes nothing for too long is cut.</summary>
internal sealed class Outlet<T>(IServerStreamWriter<T> answers, TimeProvider time) : IDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);

    /// <exception cref="RpcException">RESOURCE_EXHAUSTED: it was not read for <see cref="StreamLimits.WriteStall"/>.</exception>
    public async Task WriteAsync(T answer, CancellationToken cancellationToken)
    {
        using var stall = new CancellationTokenSource(StreamLimits.WriteStall, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(stall.Token, cancellationToken);
        try
        {
            await _gate.WaitAsync(linked.Token);
            try
            {
                await answers.WriteAsync(answer, linked.Token);
            }
            finally
            {
                _gate.Release();
            }
        }
        catch (OperationCanceledException) when (stall.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw StreamErrors.Of(StatusCode.ResourceExhausted, "StreamStalled", $"the stream was not read for {StreamLimits.WriteStall.TotalMinutes} minutes");
        }
    }

    public void Dispose() => _gate.Dispose();
}
