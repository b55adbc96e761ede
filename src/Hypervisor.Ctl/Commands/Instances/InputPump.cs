using Google.Protobuf;
using Grpc.Core;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Sends standard input into a stream of the server.</summary>
internal static class InputPump
{
    public static async Task SendOnlyAsync<T>(IClientStreamWriter<T> requests, T first, CancellationToken cancellationToken)
    {
        await requests.WriteAsync(first, cancellationToken);
        await requests.CompleteAsync();
    }

    public static async Task RunAsync<T>(
        CtlEnvironment environment, IClientStreamWriter<T> requests, T first, Func<ByteString, T> wrap, CancellationToken cancellationToken)
    {
        await requests.WriteAsync(first, cancellationToken);
        await using var input = environment.OpenInput();
        var buffer = new byte[Limits.InputChunkBytes];
        int read;
        while ((read = await input.ReadAsync(buffer, cancellationToken)) > 0)
        {
            await requests.WriteAsync(wrap(ByteString.CopyFrom(buffer, 0, read)), cancellationToken);
        }

        await requests.CompleteAsync();
    }

    /// <summary>
    /// Ends the sending side after the answers have ended. A read of a terminal cannot be cancelled, so it is left behind
    /// when it does not end: the process is about to.
    /// </summary>
    public static async Task EndAsync(Task send, CancellationTokenSource stop)
    {
        await stop.CancelAsync();
        if (!send.IsCompleted)
        {
            return;
        }

        try
        {
            await send;
        }
        catch (Exception exception) when (exception is OperationCanceledException or RpcException or InvalidOperationException)
        {
            // The server ended the call before it had taken all input; the answers, already read, say how it ended.
        }
    }
}
