using Hypervisor.Server.Configuration;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>
/// Pieces of the cluster's network that registrations of this process are about to write: nodes that register at once ask for different ones, instead
/// of all for the lowest, which only one of them gets. The store still has the last word.
/// </summary>
internal sealed class SubnetReservations(ServerNetworkConfiguration network)
{
    private readonly Lock _gate = new();
    private readonly HashSet<string> _taken = new(StringComparer.Ordinal);

    /// <summary>The lowest piece that is free and that nobody else is about to take; null when there is none.</summary>
    public string? Take(ClusterView view)
    {
        lock (_gate)
        {
            var piece = SubnetAllocator.Next(network.NodeSubnets, network.NodePrefixLength, [.. view.Subnets.Keys, .. _taken]);
            if (piece is not null)
            {
                _taken.Add(piece);
            }

            return piece;
        }
    }

    /// <summary>The view shows what came of it.</summary>
    public void Release(string piece)
    {
        lock (_gate)
        {
            _taken.Remove(piece);
        }
    }
}
