using Google.Protobuf;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Streams;

/// <summary>Carries the streams of one process: its output to the client, the client's wishes to it, until either is gone.</summary>
/// <param name="send">Some output; returns once the client's side has room for more.</param>
internal sealed class ProcessPump(IInstanceProcess process, TimeProvider time, Func<LogStream, ByteString, CancellationToken, Task> send)
{
    private int _chunks;
    private int _sending;

    /// <param name="input">Runs until the client has nothing more to say; its failure ends everything.</param>
    /// <returns>The exit, after all output was passed on.</returns>
    public async Task<ExitStatus> RunAsync(Func<CancellationToken, Task> input, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var taking = TakeAsync(input, stop);
        var output = Task.WhenAll(CopyAsync(LogStream.Stdout, stop.Token), CopyAsync(LogStream.Stderr, stop.Token));
        try
        {
            var exiting = process.ExitAsync(stop.Token);
            if (await Task.WhenAny(exiting, output) == output)
            {
                // Failed, or both ends closed by a process that runs on.
                await output;
            }

            var exit = await exiting;
            await DrainAsync(output, stop.Token);
            return exit;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested && taking.IsFaulted)
        {
            await taking;
            throw;
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(taking, output).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task TakeAsync(Func<CancellationToken, Task> input, CancellationTokenSource stop)
    {
        try
        {
            await input(stop.Token);
        }
        catch
        {
            await stop.CancelAsync();
            throw;
        }
    }

    private async Task CopyAsync(LogStream stream, CancellationToken cancellationToken)
    {
        var buffer = new byte[StreamLimits.ChunkBytes];
        while (await process.ReadAsync(stream, buffer, cancellationToken) is > 0 and var read)
        {
            Interlocked.Increment(ref _chunks);
            Interlocked.Increment(ref _sending);
            await send(stream, ByteString.CopyFrom(buffer, 0, read), cancellationToken);
            Interlocked.Decrement(ref _sending);
        }
    }

    /// <summary>Until both outputs end, or stay silent although nothing waits for the client: then something else holds them open.</summary>
    private async Task DrainAsync(Task output, CancellationToken cancellationToken)
    {
        while (!output.IsCompleted)
        {
            var seen = Volatile.Read(ref _chunks);
            using var waited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var silence = Task.Delay(StreamLimits.AfterExit, time, waited.Token);
            if (await Task.WhenAny(output, silence) == silence && Volatile.Read(ref _chunks) == seen && Volatile.Read(ref _sending) == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                return;
            }

            await waited.CancelAsync();
        }

        await output;
    }
}
