using Hypervisor.Agent.Drivers.Fake;
using Hypervisor.Agent.Node;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: a full, failing or slow disk costs a node neither its agent nor its lease.</summary>
public sealed class NodeStateTests
{
    [Fact]
    public void A_full_disk_ends_nothing_and_what_was_seen_is_saved_once_there_is_room()
    {
        using var world = new AgentWorld();
        world.Boot().Sync();
        world.Identity.Saving = () => throw new IOException("No space left on device");
        world.Send(new AssignmentEvent { ResourceVersion = 77, Put = AgentWorld.Assignment("a", epoch: 9) });
        var beats = world.ControlPlane.Beats;
        world.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal(InstanceState.Running, world.Status("a").State);
        Assert.InRange(world.ControlPlane.Beats - beats, 115, 125);
        Assert.Equal(0, world.Identity.Load().HighestEpoch);

        world.Identity.Saving = null;
        world.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal((9L, 77L), (world.Identity.Load().HighestEpoch, world.Identity.Load().HighestResourceVersion));
    }

    [Fact]
    public void An_answer_that_could_not_be_saved_is_saved_later()
    {
        using var world = new AgentWorld();
        world.ControlPlane.GoAway();
        world.Boot();
        world.Identity.Saving = () => throw new UnauthorizedAccessException("Read-only");
        world.ControlPlane.ComeBack();
        world.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal("", world.Identity.Load().Credential);

        world.Identity.Saving = null;
        world.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(("secret", "node-uid"), (world.Identity.Load().Credential, world.Identity.Load().NodeUid));
    }

    [Fact]
    public void Without_a_saved_registration_id_nothing_is_registered()
    {
        using var world = new AgentWorld();
        world.Identity.Saving = () => throw new IOException("No space left on device");

        Assert.Throws<IOException>(() => world.Boot());
        Assert.Empty(world.ControlPlane.Registrations);
    }

    [Fact]
    public void Nobody_waits_for_the_disk_to_learn_who_the_node_is()
    {
        var store = new FakeIdentityStore();
        var node = new NodeState(store, new FakeTimeProvider(), new SeededRandom(1), NullLogger<NodeState>.Instance);
        var answered = false;
        store.Saving = () =>
        {
            var beat = new Thread(() => _ = (node.Id, node.AppliedVersion));
            beat.Start();
            answered = beat.Join(TimeSpan.FromSeconds(10));
        };
        node.PrepareRegistration();

        Assert.True(answered, "Reading the identity waited for its save.");
    }
}
