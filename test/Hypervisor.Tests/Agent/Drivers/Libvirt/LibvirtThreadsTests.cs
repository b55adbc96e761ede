using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Libvirt;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Libvirt;

/// <summary>Protects: a libvirtd that does not answer costs its callers a bounded time and the agent a bounded number of threads.</summary>
public sealed class LibvirtThreadsTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly FakeTimeProvider _time = new();
    private readonly ManualResetEventSlim _answers = new();
    private readonly LibvirtThreads _threads;

    public LibvirtThreadsTests() => _threads = new LibvirtThreads(2, _time);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _answers.Set();
        _threads.Dispose();
    }

    [Fact]
    public async Task A_call_without_an_answer_is_given_up_in_its_time()
    {
        var call = _threads.RunAsync(Mute, Patience, Cancel);
        _time.Advance(Patience);

        var late = await Assert.ThrowsAsync<DriverException>(() => call);
        Assert.Equal("RuntimeUnavailable", late.Reason);
    }

    [Fact]
    public async Task Calls_wait_for_a_thread_and_take_no_more_than_there_are()
    {
        var calls = new List<Task<int>> { _threads.RunAsync(Mute, Patience, Cancel), _threads.RunAsync(Mute, Patience, Cancel) };
        var ran = false;
        var waiting = _threads.RunAsync(() => ran = true, Patience, Cancel);
        _time.Advance(Patience);
        calls.ForEach(call => Assert.Equal("RuntimeUnavailable", Assert.ThrowsAsync<DriverException>(() => call).GetAwaiter().GetResult().Reason));

        // Their threads are still taken: who waits for one fails in its own time, and its call is never made.
        await Assert.ThrowsAsync<DriverException>(() => waiting);
        Assert.False(ran);

        // As soon as libvirt gives them up, they are free again.
        _answers.Set();
        Assert.True(await _threads.RunAsync(() => true, Patience, Cancel));
    }

    [Fact]
    public async Task What_a_call_throws_is_what_its_caller_sees()
    {
        await Assert.ThrowsAsync<InvalidDataException>(() => _threads.RunAsync<int>(() => throw new InvalidDataException(), Patience, Cancel));
        using var cancelled = new CancellationTokenSource();
        var call = _threads.RunAsync(Mute, Patience, cancelled.Token);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
    }

    private int Mute()
    {
        _answers.Wait();
        return 0;
    }
}
