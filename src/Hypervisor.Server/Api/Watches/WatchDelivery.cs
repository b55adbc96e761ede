using Grpc.Core;
using Hypervisor.Server.Api.Errors;

namespace Hypervisor.Server.Api.Watches;

/// <summary>Writes a watch to its client, and cuts one that does not read.</summary>
internal static class WatchDelivery
{
    /// <exception cref="RpcException">RESOURCE_EXHAUSTED when the client took no event for <see cref="Limits.Api.WatchWriteDeadline"/>.</exception>
    public static async Task WriteAsync<TResponse>(
        IAsyncEnumerable<TResponse> events, IServerStreamWriter<TResponse> client, TimeProvider time, CancellationToken cancellationToken)
    {
        using var slow = new CancellationTokenSource();
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(slow.Token, cancellationToken);
        await using var timer = time.CreateTimer(
            static state => ((CancellationTokenSource)state!).Cancel(), slow, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        await foreach (var response in events.WithCancellation(cancellationToken))
        {
            timer.Change(Limits.Api.WatchWriteDeadline, Timeout.InfiniteTimeSpan);
            try
            {
                await client.WriteAsync(response, linked.Token);
            }
            catch (OperationCanceledException) when (slow.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw ApiErrors.ResourceExhausted(
                    $"The watch was not read for {Limits.Api.WatchWriteDeadline.TotalSeconds} s; resume from the last resource_version and read faster.",
                    Limits.Api.RetryUnavailable);
            }

            timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }
}
