using Google.Protobuf;
using Grpc.Core;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>What goes into a stream of the server: standard input, and between it signals and window sizes.</summary>
internal sealed class InputPump<T>(IClientStreamWriter<T> requests, CancellationToken cancellationToken) : IDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);

    public async Task SendAsync(T request)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            await requests.WriteAsync(request, cancellationToken);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>From outside of the flow (a signal's handler): lost when the stream is over, which its reader tells.</summary>
    public async void Post(T request)
    {
        try
        {
            await SendAsync(request);
        }
        catch (Exception exception) when (exception is OperationCanceledException or RpcException or InvalidOperationException or ObjectDisposedException)
        {
            // Over.
        }
    }

    /// <summary>Standard input until its end.</summary>
    public async Task RunAsync(CtlEnvironment environment, Func<ByteString, T> wrap, T? atEnd)
    {
        await using var input = environment.OpenInput();
        var buffer = new byte[Limits.InputChunkBytes];
        int read;
        while ((read = await input.ReadAsync(buffer, cancellationToken)) > 0)
        {
            await SendAsync(wrap(ByteString.CopyFrom(buffer, 0, read)));
        }

        if (atEnd is not null)
        {
            await SendAsync(atEnd);
        }
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

    public void Dispose() => _gate.Dispose();
}
