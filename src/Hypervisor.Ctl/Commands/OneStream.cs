using Grpc.Core;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands;

/// <summary>Reads and writes streams that are not resumed when they break.</summary>
internal static class OneStream
{
    /// <exception cref="ServerUnreachableException">The server went away.</exception>
    public static async Task ReadAsync<T>(Invocation invocation, IAsyncStreamReader<T> stream, Action<T> act, CancellationToken cancellationToken)
    {
        try
        {
            while (await stream.MoveNext(cancellationToken))
            {
                act(stream.Current);
            }
        }
        catch (RpcException exception) when (ServerConnection.IsAway(exception))
        {
            throw invocation.Connection.Unreachable(exception);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // Not by us: a server that is being stopped resets its streams so.
            throw new CtlException(ExitCode.Unreachable, "The server broke the stream off; it may be restarting.", "Try again.");
        }
    }

    /// <summary>Sends everything; a server that answers before it has taken all is left to say why in its answer, which is awaited next.</summary>
    public static async Task WriteAsync(Func<Task> send, CancellationToken cancellationToken)
    {
        try
        {
            await send();
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested
            && exception is RpcException or InvalidOperationException or OperationCanceledException)
        {
            // How an ended call shows itself to its sender depends on the moment: as its status, as a cancellation, or as a finished call.
        }
    }
}
