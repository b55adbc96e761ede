using Hypervisor.Server.Controllers.Groups;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

/// <summary>
/// One reconciler of the leader. It takes no hint as truth: whatever wakes it, it compares what is with what should be, by
/// the same code; running twice does what running once does.
/// </summary>
internal interface IController
{
    /// <summary>For logs.</summary>
    string Name { get; }

    /// <summary>Runs for one term, until cancelled. Any other end fails the term.</summary>
    Task RunAsync(LeaderTerm term, CancellationToken cancellationToken);
}

/// <summary>One stretch of leading. Its view includes everything that earlier leaders wrote.</summary>
/// <param name="Guard">In every write of a controller: a deposed leader changes nothing (StaleLeaderInert).</param>
internal sealed record LeaderTerm(Compare Guard)
{
    /// <summary>Of this term only: what an earlier one had in flight either shows in the view or was refused.</summary>
    public FollowedFleet Fleet { get; } = new();

    /// <summary>Likewise.</summary>
    public PendingGangs Gangs { get; } = new();
}

/// <summary>Whether this replica leads now, for the API's first placements.</summary>
internal sealed class CurrentTerm
{
    private volatile LeaderTerm? _term;

    /// <summary>Null while another replica leads, or nobody.</summary>
    public LeaderTerm? Value
    {
        get => _term;
        set => _term = value;
    }
}
