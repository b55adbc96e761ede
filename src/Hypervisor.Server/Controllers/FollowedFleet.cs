using Hypervisor.Protocol;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>One leader's fleet and who waits for a place in it, brought up to the view whenever somebody decides.</summary>
internal sealed class FollowedFleet : IDisposable
{
    private readonly Dictionary<string, InstanceEntry> _chores = new(StringComparer.Ordinal);
    private ChangeSubscription? _changes;
    private Incarnation? _incarnation;

    public FollowedFleet() => Queue = new(Ledger.Fleet);

    /// <summary>Held from <see cref="CatchUp"/> to the reservation; never across an await.</summary>
    public Lock Gate { get; } = new();

    /// <summary>To be used while holding <see cref="Gate"/>.</summary>
    public FleetLedger Ledger { get; } = new();

    /// <summary>Likewise.</summary>
    public PlacementQueue Queue { get; }

    /// <summary>Where the next look for somebody who could make room begins. Likewise.</summary>
    public int Cursor { get; set; }

    /// <summary>When everybody in the queue was last decided about again; a timestamp of the clock. Likewise.</summary>
    public long AllWokenAt { get; set; }

    /// <summary>Instances that need something else than a node, in no order. Likewise.</summary>
    public IReadOnlyCollection<InstanceEntry> Chores => _chores.Values;

    /// <summary>Applies what changed since. Called while holding <see cref="Gate"/>.</summary>
    /// <param name="requestOf">What an instance asks for.</param>
    public void CatchUp(ClusterState state, Func<InstanceEntry, PlacementRequest> requestOf)
    {
        while (true)
        {
            if (_changes is null)
            {
                var view = state.View;
                _changes = state.Subscribe(view.Revision);
                Ledger.Load(view);
                Load(view, requestOf);
            }

            switch (_changes.Read())
            {
                case { Kind: FeedReadKind.Change, Change: { } change }:
                    Ledger.Apply(change);
                    foreach (var (old, current) in change.Instances)
                    {
                        Consider((current ?? old)!.Id, current, state.Incarnation, requestOf);
                        if (old?.NodeId != current?.NodeId)
                        {
                            ConsiderClones((current ?? old)!.Id, requestOf);
                        }
                    }

                    break;
                case { Kind: FeedReadKind.Resync }:
                    _changes.Dispose();
                    _changes = null;
                    break;
                case var idle:
                    Ledger.Reached(idle.Revision);
                    if (_incarnation != state.Incarnation)
                    {
                        // Which concerns every instance and changes none.
                        Load(state.View, requestOf);
                    }

                    return;
            }
        }
    }

    public void Dispose() => _changes?.Dispose();

    private void Load(ClusterView view, Func<InstanceEntry, PlacementRequest> requestOf)
    {
        _incarnation = view.Incarnation;
        foreach (var gone in Queue.All.Select(item => item.Entry.Id).Where(id => view.Instance(id) is null).ToList())
        {
            Queue.Withdraw(gone);
        }

        _chores.Clear();
        foreach (var instance in view.Instances)
        {
            Consider(instance.Id, instance, view.Incarnation, requestOf);
        }
    }

    private void Consider(InstanceId id, InstanceEntry? instance, Incarnation incarnation, Func<InstanceEntry, PlacementRequest> requestOf)
    {
        if (Ledger.ClaimOf(id) is { } claim && IsOver(claim, instance))
        {
            Ledger.Unclaim(id);
        }

        var need = instance is null ? PlacementNeed.Nothing : PlacementNeeds.Of(instance, incarnation);
        if (need is PlacementNeed.Placement or PlacementNeed.Return)
        {
            Queue.Offer(instance!, requestOf);
        }
        else
        {
            Queue.Withdraw(id);
        }

        if (need is PlacementNeed.Nothing or PlacementNeed.Placement or PlacementNeed.Return)
        {
            _chores.Remove(id.Value);
        }
        else
        {
            _chores[id.Value] = instance!;
        }
    }

    /// <summary>Nobody will come for what is claimed: the instance goes, or stays where it is.</summary>
    private static bool IsOver(Claim claim, InstanceEntry? instance) =>
        instance is null or { Deleting: true }
        || (instance is { NodeId: not null, IsEvicted: false } && instance.PlacementRevision >= claim.AskedAt);

    private void ConsiderClones(InstanceId source, Func<InstanceEntry, PlacementRequest> requestOf)
    {
        foreach (var clone in Queue.ClonesOf(source))
        {
            Queue.Offer(clone.Entry, requestOf);
        }
    }
}
