using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Memory;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>
/// Protects: linearizable reads ask the store, but many at once do not ask it many times, and none is answered from a question that
/// was asked before it began (ReadsLinearizable, Bounded).
/// </summary>
public sealed class ViewReadsTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Many_reads_at_once_share_the_next_question_not_the_running_one()
    {
        var (replica, store) = await StartAsync();
        await using var owned = replica;
        var asked = store.RevisionsAsked;
        var held = new TaskCompletionSource();
        store.RevisionsHeld = held.Task;
        var first = replica.Reads.ViewAsync(Consistency.Linearizable, Cancel).AsTask();
        var others = Enumerable.Range(0, 100).Select(_ => replica.Reads.ViewAsync(Consistency.Linearizable, Cancel).AsTask()).ToList();
        Assert.Equal(asked + 1, store.RevisionsAsked);

        held.SetResult();
        await Task.WhenAll(others.Append(first)).WaitAsync(Cancel);
        Assert.Equal(asked + 2, store.RevisionsAsked);
        await replica.Reads.ViewAsync(Consistency.Linearizable, Cancel);
        Assert.Equal(asked + 3, store.RevisionsAsked);
    }

    [Fact]
    public async Task A_read_that_began_while_another_asked_sees_what_was_written_meanwhile()
    {
        var (replica, store) = await StartAsync();
        await using var owned = replica;
        var held = new TaskCompletionSource();
        store.RevisionsHeld = held.Task;
        var early = replica.Reads.ViewAsync(Consistency.Linearizable, Cancel).AsTask();
        var written = await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Ready));
        var late = replica.Reads.ViewAsync(Consistency.Linearizable, Cancel).AsTask();
        held.SetResult();
        await early.WaitAsync(Cancel);
        Assert.True((await late.WaitAsync(Cancel)).Revision >= written.Revision);
    }

    [Fact]
    public async Task Stale_reads_ask_nobody_and_a_failed_question_fails_only_those_who_shared_it()
    {
        var (replica, store) = await StartAsync();
        await using var owned = replica;
        var asked = store.RevisionsAsked;
        await replica.Reads.ViewAsync(Consistency.Stale, Cancel);
        Assert.Equal(asked, store.RevisionsAsked);

        store.FailRevision = new InvalidOperationException("away");
        await Assert.ThrowsAsync<InvalidOperationException>(() => replica.Reads.ViewAsync(Consistency.Linearizable, Cancel).AsTask());
        store.FailRevision = null;
        await replica.Reads.ViewAsync(Consistency.Linearizable, Cancel);
    }

    private static async Task<(Replica Replica, FaultyStore Store)> StartAsync()
    {
        var store = new FaultyStore(new MemoryStore(new Microsoft.Extensions.Time.Testing.FakeTimeProvider()));
        return (await Replica.StartAsync(store), store);
    }
}
