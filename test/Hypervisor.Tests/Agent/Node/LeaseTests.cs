using Hypervisor.Agent.Node;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: FenceBeforeStart. The agent's own deadline lies before the moment at which a replacement may start.</summary>
public sealed class LeaseTests
{
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(5);

    [Fact]
    public void It_is_counted_from_the_beat_that_was_sent_not_from_its_answer()
    {
        var lease = new Lease();
        lease.Sent(1, At(10));
        lease.Sent(2, At(11));
        lease.Acknowledged(1, Duration);

        Assert.Equal(At(10), lease.RenewedAt);
        Assert.Equal(At(13), lease.StopBy(TimeSpan.FromSeconds(1.5), TimeSpan.FromSeconds(0.5)));
    }

    [Fact]
    public void A_beat_without_an_answer_renews_nothing()
    {
        var lease = new Lease();
        lease.Sent(1, At(10));

        Assert.Null(lease.StopBy(TimeSpan.Zero, TimeSpan.Zero));
        Assert.False(lease.HoldsAt(At(10)));
    }

    [Fact]
    public void An_answer_to_a_beat_of_an_earlier_stream_renews_nothing()
    {
        var lease = new Lease();
        lease.Sent(7, At(10));
        lease.StreamOpened();
        lease.Sent(1, At(20));
        lease.Acknowledged(7, Duration);

        Assert.Null(lease.RenewedAt);
    }

    [Fact]
    public void It_ends_one_duration_after_the_renewal()
    {
        var lease = new Lease();
        lease.Sent(1, At(10));
        lease.Acknowledged(1, Duration);

        Assert.True(lease.HoldsAt(At(14.999)));
        Assert.False(lease.HoldsAt(At(15)));
    }

    [Fact]
    public void A_lease_shorter_than_stopping_takes_is_to_be_stopped_at_once()
    {
        var lease = new Lease();
        lease.Sent(1, At(10));
        lease.Acknowledged(1, TimeSpan.FromSeconds(1));

        Assert.Equal(At(10), lease.StopBy(TimeSpan.FromSeconds(10), TimeSpan.Zero));
    }

    [Fact]
    public void Unanswered_beats_do_not_pile_up()
    {
        var lease = new Lease();
        for (var sequence = 1; sequence <= 1000; sequence++)
        {
            lease.Sent(sequence, At(sequence));
        }

        lease.Acknowledged(1, Duration);
        Assert.Null(lease.RenewedAt);
        lease.Acknowledged(1000, Duration);
        Assert.Equal(At(1000), lease.RenewedAt);
    }

    private static TimeSpan At(double seconds) => TimeSpan.FromSeconds(seconds);
}
