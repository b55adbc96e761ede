using System.Net;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Networking;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Agent.Node;

/// <summary>The whole agent but its endpoint: registers, then runs everything that runs for as long as the agent does.</summary>
/// <param name="network">Null when the node's network is switched off.</param>
internal sealed partial class NodeAgent(
    NodeState node,
    Registration registration,
    Heartbeats heartbeats,
    Reconciler reconciler,
    StatusReporter reporter,
    INodeNetwork? network,
    TimeProvider time,
    IRandomSource random,
    ILogger<NodeAgent> logger)
{
    /// <summary>Until cancelled; instances go on. Throws on bugs and when the first registration cannot be saved.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        // What runs already needs its network also while the control plane is away.
        await TryEnsureNetworkAsync(cancellationToken);
        heartbeats.Adopt(await registration.RegisterAsync(cancellationToken));

        // Beats first: a network that takes its time must not cost the node its lease.
        await Together.RunAsync(
            cancellationToken,
            node.RunAsync,
            heartbeats.RunAsync,
            reporter.RunAsync,
            registration.RepeatOnRequestAsync,
            registration.WatchRuntimesAsync,
            ReconcileAsync);
    }

    private async Task ReconcileAsync(CancellationToken cancellationToken)
    {
        var worked = await TryEnsureNetworkAsync(cancellationToken);
        await Together.RunAsync(cancellationToken, reconciler.RunAsync, token => KeepNetworkAsync(worked, token));
    }

    /// <summary>Repairs at once what the kernel reports; the periodic look finds the rest.</summary>
    private async Task KeepNetworkAsync(bool worked, CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.RetryMaximum, time, random);
        while (true)
        {
            if (worked)
            {
                backoff.Reset();
                await HintOrIntervalAsync(cancellationToken);
            }
            else
            {
                await backoff.WaitAsync(cancellationToken);
            }

            worked = await TryEnsureNetworkAsync(cancellationToken);
        }
    }

    private async Task HintOrIntervalAsync(CancellationToken cancellationToken)
    {
        if (network is null)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, time, cancellationToken);
            return;
        }

        using var interval = new CancellationTokenSource(Limits.ResyncInterval, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, interval.Token);
        try
        {
            await network.WaitForChangeAsync(linked.Token);
        }
        catch (OperationCanceledException) when (interval.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            // Nothing was heard: time to look.
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            // The interval alone still repairs.
            LogWatchFailed(failure);
            await Task.Delay(Limits.ResyncInterval, time, cancellationToken);
        }
    }

    /// <summary>False when it failed: adopting and removing go on without it, creating fails by itself and is tried again.</summary>
    private async Task<bool> TryEnsureNetworkAsync(CancellationToken cancellationToken)
    {
        if (network is null || !IPNetwork.TryParse(node.Identity.Subnet, out var subnet))
        {
            return true;
        }

        using var deadline = new CancellationTokenSource(Limits.ActionDeadline, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            await network.EnsureAsync(subnet, linked.Token);
            return true;
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            LogNetworkFailed(subnet, failure);
            return false;
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The node's network {Subnet} could not be made; trying again")]
    private partial void LogNetworkFailed(IPNetwork subnet, Exception failure);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Changes of the node's network cannot be watched; it is checked periodically")]
    private partial void LogWatchFailed(Exception failure);
}
