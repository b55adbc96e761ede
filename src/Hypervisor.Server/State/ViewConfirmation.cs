using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.State;

/// <summary>
/// Keeps it known how far the view is behind the store, also while nobody reads: a store in which nothing happens is no store that
/// is away, and a change that arrives does not say how many more are on their way.
/// </summary>
internal sealed class ViewConfirmation(ClusterState state, ViewReads reads, TimeProvider time)
{
    /// <summary>Until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await Task.Delay(Limits.State.ConfirmInterval, time, cancellationToken);
            if (!state.Loaded || state.Age < Limits.State.ConfirmInterval)
            {
                continue;
            }

            try
            {
                await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
            }
            catch (Exception exception) when (exception is StoreUnavailableException or ViewBehindException)
            {
                // The age tells of it to whoever asks, and the loop that follows the store has logged why.
            }
        }
    }
}
