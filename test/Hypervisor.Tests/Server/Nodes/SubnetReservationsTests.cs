using System.Net;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>Protects a fleet that registers at once: nodes do not all ask for the piece of the network that only one of them gets.</summary>
public sealed class SubnetReservationsTests
{
    private readonly SubnetReservations _pieces = new(new() { NodeSubnets = IPNetwork.Parse("10.0.0.0/22"), NodePrefixLength = 24 });

    [Fact]
    public void What_is_about_to_be_written_is_not_handed_out_again()
    {
        Assert.Equal(["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"], Enumerable.Range(0, 4).Select(_ => _pieces.Take(ClusterView.Empty)));
        Assert.Null(_pieces.Take(ClusterView.Empty));
    }

    [Fact]
    public void What_was_not_written_after_all_is_the_next_ones()
    {
        _pieces.Take(ClusterView.Empty);
        _pieces.Take(ClusterView.Empty);

        _pieces.Release("10.0.0.0/24");

        Assert.Equal("10.0.0.0/24", _pieces.Take(ClusterView.Empty));
    }
}
