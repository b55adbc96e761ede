using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

/// <summary>Tells an instance to leave its node, with the place that is kept for it elsewhere.</summary>
internal sealed partial class Evictor(ClusterState state, StoreWriter writer, TimeProvider time, ILogger<Evictor> logger)
{
    /// <param name="claimed">Whether a place is kept for it; it is given up again when the instance is not told.</param>
    /// <param name="next">By which that place was chosen, and will be again when it has left; unspecified means the instance's own.</param>
    /// <returns>False when something about it changed meanwhile; the view includes what.</returns>
    /// <exception cref="StoreUnavailableException">It may have been told.</exception>
    /// <exception cref="StoreBusyException">It was not.</exception>
    public async Task<bool> EvictAsync(
        LeaderTerm term, InstanceEntry instance, Eviction why, bool claimed, CancellationToken cancellationToken, PlacementStrategy next = PlacementStrategy.Unspecified)
    {
        var revision = 0L;
        try
        {
            var result = await writer.WriteAsync(Evictions.Begin([instance], why, time.GetUtcNow(), [term.Guard], next), cancellationToken);
            await state.WaitForRevisionAsync(result.Revision, cancellationToken);
            revision = result.Succeeded ? result.Revision : 0;
        }
        finally
        {
            if (revision > 0)
            {
                Placer.Asked(term, instance.Id, revision);
                LogEvicts(logger, instance.Project, instance.Name, instance.Node!.Name, why.Reason);
            }
            else if (claimed)
            {
                Placer.Unclaim(term, instance.Id);
            }
        }

        return revision > 0;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Instance {Project}/{Instance} is to leave {Node}: {Reason}")]
    private static partial void LogEvicts(ILogger logger, string project, string instance, string node, string reason);
}
