using Grpc.Core;
using Hypervisor.Ctl.Connection;

namespace Hypervisor.Ctl.Commands;

/// <summary>Reads streams that are not resumed when they break.</summary>
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
    }
}
