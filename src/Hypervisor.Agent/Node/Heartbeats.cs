using System.Runtime.CompilerServices;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>Renews the node's lease: one stream, a beat per interval, given up when no acknowledgement came for half a lease.</summary>
internal sealed partial class Heartbeats(
    NodeState node, IControlPlane controlPlane, ILeaseClock clock, TimeProvider time, IRandomSource random, ILogger<Heartbeats> logger)
{
    private static readonly TimeSpan ShortestInterval = TimeSpan.FromMilliseconds(50);

    private readonly Lock _gate = new();
    private readonly Lease _lease = new();
    private TimeSpan _interval = TimeSpan.FromSeconds(1);
    private TimeSpan _duration = TimeSpan.FromSeconds(5);

    /// <summary>As of the last acknowledgement.</summary>
    /// <param name="stopAllowance">The longest that stopping takes.</param>
    /// <param name="margin">As in <see cref="Lease.StopBy"/>.</param>
    public TimeSpan? StopBy(TimeSpan stopAllowance, TimeSpan margin)
    {
        lock (_gate)
        {
            return _lease.StopBy(stopAllowance, margin);
        }
    }

    /// <summary>The terms that a registration answered with.</summary>
    public void Adopt(RegisterNodeResponse response) => Adopt(response.HeartbeatInterval?.ToTimeSpan(), response.LeaseDuration?.ToTimeSpan());

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.ReconnectMaximum, time, random);
        while (true)
        {
            using var silence = new CancellationTokenSource(_duration / 2, time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, silence.Token);
            try
            {
                lock (_gate)
                {
                    _lease.StreamOpened();
                }

                await foreach (var answer in controlPlane.HeartbeatAsync(BeatAsync(linked.Token), linked.Token))
                {
                    Adopt(answer.HeartbeatInterval?.ToTimeSpan(), answer.LeaseDuration?.ToTimeSpan());
                    lock (_gate)
                    {
                        _lease.Acknowledged(answer.Sequence, _duration);
                    }

                    silence.CancelAfter(_duration / 2);
                    backoff.Reset();
                }

                LogEnded("the server closed it");
            }
            catch (Exception failure) when (failure is RpcException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                LogEnded(silence.IsCancellationRequested ? "no acknowledgement for half a lease"
                    : failure is RpcException rpc ? $"{rpc.StatusCode}: {rpc.Status.Detail}" : failure.Message);
                if (failure is RpcException { StatusCode: StatusCode.Unauthenticated or StatusCode.NotFound })
                {
                    node.RequestRegistration();
                }
            }

            await backoff.WaitAsync(cancellationToken);
        }
    }

    private void Adopt(TimeSpan? interval, TimeSpan? duration)
    {
        if (interval is { } beat && beat >= ShortestInterval)
        {
            _interval = beat;
        }

        if (duration is { } lease && lease > TimeSpan.Zero)
        {
            _duration = lease;
        }
    }

    private async IAsyncEnumerable<HeartbeatRequest> BeatAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (long sequence = 1; ; sequence++)
        {
            lock (_gate)
            {
                _lease.Sent(sequence, clock.Now);
            }

            yield return new HeartbeatRequest { NodeUid = node.Id.Value, Sequence = sequence, ResourceVersion = node.AppliedVersion.Value };
            await Task.Delay(_interval, time, cancellationToken);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The heartbeat stream ended ({Reason}); reconnecting")]
    private partial void LogEnded(string reason);
}
