using Grpc.Core;

namespace Hypervisor.Server.Api.Streams;

/// <summary>
/// Joins a client's stream with an agent's, message by message: neither side is read further than the other has taken it. When either
/// ends, so does the other.
/// </summary>
internal static class Relay
{
    /// <param name="first">Read from the client already.</param>
    public static async Task BothWaysAsync<TRequest, TResponse>(
        TRequest first,
        IAsyncStreamReader<TRequest> client,
        IServerStreamWriter<TResponse> answers,
        AsyncDuplexStreamingCall<TRequest, TResponse> agent,
        CancellationToken cancellationToken)
        where TRequest : class
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var up = UpAsync(first, client, agent.RequestStream, stop.Token);
        try
        {
            while (await agent.ResponseStream.MoveNext(cancellationToken))
            {
                await answers.WriteAsync(agent.ResponseStream.Current, cancellationToken);
            }
        }
        finally
        {
            await stop.CancelAsync();
            // The agent first: a client that is still being read from ends with its call.
            agent.Dispose();
            await up.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        }
    }

    public static async Task UpAsync<T>(T first, IAsyncStreamReader<T> client, IClientStreamWriter<T> agent, CancellationToken cancellationToken)
        where T : class
    {
        var message = first;
        do
        {
            await agent.WriteAsync(message, cancellationToken);
        }
        while (await client.MoveNext(cancellationToken) && (message = client.Current) is not null);

        await agent.CompleteAsync();
    }
}
