using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>One leader's fleet, brought up to the view whenever somebody decides.</summary>
internal sealed class FollowedFleet : IDisposable
{
    private ChangeSubscription? _changes;

    /// <summary>Held from <see cref="CatchUp"/> to the reservation; never across an await.</summary>
    public Lock Gate { get; } = new();

    /// <summary>To be used while holding <see cref="Gate"/>.</summary>
    public FleetLedger Ledger { get; } = new();

    /// <summary>Applies what changed since. Called while holding <see cref="Gate"/>.</summary>
    public void CatchUp(ClusterState state)
    {
        while (true)
        {
            if (_changes is null)
            {
                var view = state.View;
                _changes = state.Subscribe(view.Revision);
                Ledger.Load(view);
            }

            switch (_changes.Read())
            {
                case { Kind: FeedReadKind.Change, Change: { } change }:
                    Ledger.Apply(change);
                    break;
                case { Kind: FeedReadKind.Resync }:
                    _changes.Dispose();
                    _changes = null;
                    break;
                case var idle:
                    Ledger.Reached(idle.Revision);
                    return;
            }
        }
    }

    public void Dispose() => _changes?.Dispose();
}
