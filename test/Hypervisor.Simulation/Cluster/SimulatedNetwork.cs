using System.Runtime.CompilerServices;
using Grpc.Core;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Cluster;

/// <summary>
/// Calls between processes, as TCP gives them: delayed, answered in order, hanging while cut, failing when the peer is gone.
/// </summary>
internal sealed class SimulatedNetwork(SimulationLoop loop)
{
    /// <summary>A stream that was cut for so long is found dead by its pings; both ends then see it break.</summary>
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(250);
    private const int StreamBuffer = 64;

    /// <summary>How many connections break after the request and before the answer.</summary>
    private const double AnswersLost = 0.02;

    private readonly Dictionary<string, long> _cutSince = new(StringComparer.Ordinal);

    /// <summary>No byte passes between this host and the servers.</summary>
    public void Cut(string host) => _cutSince.TryAdd(host, loop.Now);

    public void Heal(string host) => _cutSince.Remove(host);

    public bool IsCut(string host) => _cutSince.ContainsKey(host);

    /// <summary>One call and its answer. The deadline is the caller's, on the caller's clock.</summary>
    public async Task<T> CallAsync<T>(
        SimulatedProcess from, string host, Func<SimulatedServer?> target, Func<SimulatedServer, CancellationToken, Task<T>> handler, TimeSpan deadline,
        CancellationToken cancellationToken)
    {
        try
        {
            return await from.WithinAsync(SendAsync(), deadline, cancellationToken);
        }
        catch (TimeoutException)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, $"no answer within {deadline}"));
        }

        async Task<T> SendAsync()
        {
            var server = await ReachAsync(from, host, target);
            var answer = await server.Process.RunAsync(async () =>
            {
                using var limit = new CancellationTokenSource(deadline, server.Process.Clock);
                try
                {
                    return await handler(server, limit.Token);
                }
                catch (Exception exception)
                {
                    throw server.Translate(exception, limit.IsCancellationRequested);
                }
            });
            await LegAsync(from, host);
            return loop.Random.Chance(AnswersLost) ? throw Broken() : answer;
        }
    }

    /// <summary>A server's stream. Nothing of it is lost, doubled or reordered; it stands still or breaks.</summary>
    public async IAsyncEnumerable<T> StreamAsync<T>(
        SimulatedProcess from, string host, Func<SimulatedServer?> target, Func<SimulatedServer, CancellationToken, IAsyncEnumerable<T>> open,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var server = await ConnectAsync(from, host, target, cancellationToken);
        var pipe = new SimulatedPipe<T>(StreamBuffer);
        var ending = new CancellationTokenSource();
        server.Process.Post(_ => _ = PumpAsync(server, host, open, pipe, ending.Token), null);
        try
        {
            while (true)
            {
                while (pipe.TryRead(out var item))
                {
                    yield return item;
                }

                if (pipe.IsComplete)
                {
                    yield break;
                }

                if (!await pipe.ChangedAsync(from, Look, cancellationToken) && (server.Process.IsDead || CutFor(host) > KeepAlive))
                {
                    throw Broken();
                }
            }
        }
        finally
        {
            // The other end learns of it in its own time.
            server.Process.Post(_ => ending.Cancel(), null);
        }
    }

    /// <summary>One way: what is cut on its way waits for the connection's end.</summary>
    public async Task LegAsync(SimulatedProcess process, string host)
    {
        await Task.Delay(loop.Random.Between(TimeSpan.FromTicks(500), TimeSpan.FromMilliseconds(2)), process.Clock);
        if (IsCut(host))
        {
            await new TaskCompletionSource().Task;
        }
    }

    public TimeSpan CutFor(string host) => _cutSince.TryGetValue(host, out var since) ? TimeSpan.FromTicks(loop.Now - since) : TimeSpan.Zero;

    private async Task<SimulatedServer> ReachAsync(SimulatedProcess from, string host, Func<SimulatedServer?> target)
    {
        await LegAsync(from, host);
        return target() is { Process.IsDead: false } server
            ? server
            : throw new RpcException(new Status(StatusCode.Unavailable, "connection refused"));
    }

    private async Task<SimulatedServer> ConnectAsync(
        SimulatedProcess from, string host, Func<SimulatedServer?> target, CancellationToken cancellationToken)
    {
        try
        {
            return await from.WithinAsync(ReachAsync(from, host, target), KeepAlive, cancellationToken);
        }
        catch (TimeoutException)
        {
            throw Broken();
        }
    }

    private async Task PumpAsync<T>(
        SimulatedServer server, string host, Func<SimulatedServer, CancellationToken, IAsyncEnumerable<T>> open, SimulatedPipe<T> pipe,
        CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var item in open(server, cancellationToken))
            {
                await Task.Delay(loop.Random.Between(TimeSpan.FromTicks(500), TimeSpan.FromMilliseconds(2)), server.Process.Clock, cancellationToken);
                while (IsCut(host) || pipe.IsFull)
                {
                    if (CutFor(host) > KeepAlive)
                    {
                        pipe.Complete(Broken());
                        return;
                    }

                    await Task.Delay(Look, server.Process.Clock, cancellationToken);
                }

                pipe.Write(item);
            }

            pipe.Complete(null);
        }
        catch (Exception exception)
        {
            pipe.Complete(server.Translate(exception, cancellationToken.IsCancellationRequested));
        }
    }

    private static RpcException Broken() => new(new Status(StatusCode.Unavailable, "the connection broke"));
}
