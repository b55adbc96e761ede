using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

/// <summary>Campaigns, runs the controllers while it leads, and stops them when it no longer does.</summary>
internal sealed partial class LeadershipHost(
    IClusterStore store,
    ClusterState state,
    CurrentTerm current,
    IReadOnlyList<IController> controllers,
    string candidate,
    TimeProvider time,
    ILogger<LeadershipHost> logger)
{
    /// <summary>Until cancelled; resigns then, so that a successor need not wait for the lease.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                await using var leadership = await store.CampaignAsync(
                    Keys.ControllerElection, candidate, Limits.Control.LeaderLease, cancellationToken);
                await LeadAsync(leadership, cancellationToken);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return;
            }
            catch (StoreUnavailableException exception)
            {
                LogStoreAway(logger, exception.Message);
            }

            try
            {
                await Task.Delay(Limits.Control.CampaignRetry, time, cancellationToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    private async Task LeadAsync(ILeadership leadership, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, leadership.Lost);
        var term = new LeaderTerm(leadership.Guard);
        try
        {
            // The guard names the revision that made this replica leader: all that its predecessors wrote lies before it.
            await state.WaitForRevisionAsync(leadership.Guard.Revision, ending.Token);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
            return;
        }

        LogLeading(logger, candidate, leadership.Guard.Revision);
        current.Value = term;
        var running = controllers.Select(controller => RunAsync(controller, term, ending)).ToList();
        await Task.WhenAll(running);
        current.Value = null;
        lock (term.Fleet.Gate)
        {
            term.Fleet.Dispose();
        }

        LogNoLongerLeading(logger, candidate);
    }

    /// <summary>A controller that ends on its own ends the term: the next one begins with everything fresh.</summary>
    private async Task RunAsync(IController controller, LeaderTerm term, CancellationTokenSource ending)
    {
        try
        {
            await controller.RunAsync(term, ending.Token);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
            return;
        }
#pragma warning disable CA1031 // Whatever a controller dies of must not take the API with it; it is reported and the term ends.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            LogControllerFailed(logger, controller.Name, exception);
        }

        current.Value = null;
        ending.Cancel();
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Candidate} leads the controllers from revision {Revision} on")]
    private static partial void LogLeading(ILogger logger, string candidate, long revision);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Candidate} no longer leads the controllers")]
    private static partial void LogNoLongerLeading(ILogger logger, string candidate);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The store cannot be campaigned in; trying again: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Controller {Controller} failed; its term ends and a new one is campaigned for")]
    private static partial void LogControllerFailed(ILogger logger, string controller, Exception exception);
}
