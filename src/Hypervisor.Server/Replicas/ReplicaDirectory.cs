using System.Text;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Replicas;

/// <summary>One server of the cluster.</summary>
/// <param name="Name">As it campaigns.</param>
/// <param name="Address">Where other servers call it.</param>
internal sealed record Replica(string Name, string Address);

/// <summary>
/// Which servers there are: each holds an election of its own, whose key goes with its lease. That costs one write per start; a server
/// that is gone vanishes by itself.
/// </summary>
internal sealed partial class ReplicaDirectory(IClusterStore store, Replica self, TimeProvider time, ILogger<ReplicaDirectory> logger)
{
    private static readonly string Prefix = Keys.Leader(Keys.ReplicaElection);

    public Replica Self => self;

    /// <summary>The embedded store belongs to one process: nobody else can be there.</summary>
    private bool IsAlone => store.Kind == "sqlite";

    /// <summary>Until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (IsAlone)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, time, cancellationToken);
        }

        while (true)
        {
            try
            {
                await using var entry = await store.CampaignAsync(
                    Keys.ReplicaElection + self.Name, self.Address, Limits.Replicas.Lease, cancellationToken);
                using var held = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, entry.Lost);
                await Task.Delay(Timeout.InfiniteTimeSpan, time, held.Token);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                LogLost(logger, self.Name);
            }
            catch (StoreUnavailableException exception)
            {
                LogAway(logger, exception.Message);
            }

            await Task.Delay(Limits.Control.CampaignRetry, time, cancellationToken);
        }
    }

    /// <summary>All of them by name, this one included.</summary>
    /// <exception cref="StoreUnavailableException"/>
    public async Task<IReadOnlyList<Replica>> ListAsync(CancellationToken cancellationToken)
    {
        if (IsAlone)
        {
            return [self];
        }

        var found = await store.RangeAsync(RangeQuery.Prefix(Prefix), cancellationToken);
        return [.. found.Items
            .Select(item => new Replica(item.Key[Prefix.Length..], Encoding.UTF8.GetString(item.Value.Span)))
            .Where(replica => replica.Name != self.Name)
            .Append(self)
            .OrderBy(replica => replica.Name, StringComparer.Ordinal)];
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Replica} is not listed among the servers for a moment: its lease ran out")]
    private static partial void LogLost(ILogger logger, string replica);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The store does not list this server among the others; trying again: {Reason}")]
    private static partial void LogAway(ILogger logger, string reason);
}
