using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Runs libvirt's blocking calls on threads of their own, no more than a few, and waits for none longer than it may.</summary>
/// <remarks>
/// A call that waits for a libvirtd that does not answer cannot be ended. Its thread stays until libvirt itself gives the connection up; while
/// all are taken, further calls wait for one, and fail when their own time is over.
/// </remarks>
/// <param name="threads">At most so many at once.</param>
internal sealed class LibvirtThreads(int threads, TimeProvider time) : IDisposable
{
    private readonly SemaphoreSlim _free = new(threads, threads);

    /// <exception cref="DriverException">RuntimeUnavailable: no answer in time.</exception>
    /// <exception cref="Interop.LibvirtException">libvirt refused.</exception>
    public async Task<T> RunAsync<T>(Func<T> call, TimeSpan patience, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(patience, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await _free.WaitAsync(linked.Token);
            var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
            new Thread(() => Run(call, answer), LibvirtLimits.StackBytes) { IsBackground = true, Name = "libvirt call" }.Start();
            return await answer.Task.WaitAsync(linked.Token);
        }
        catch (OperationCanceledException late) when (!cancellationToken.IsCancellationRequested)
        {
            throw new DriverException(GuestLimits.Unavailable, $"libvirtd does not answer within {patience.TotalSeconds:0} s", permanent: false, late);
        }
    }

    /// <summary>Calls that have not returned yet return to nobody.</summary>
    public void Dispose() => _free.Dispose();

    private void Run<T>(Func<T> call, TaskCompletionSource<T> answer)
    {
        try
        {
            answer.TrySetResult(call());
        }
        catch (Exception failure)
        {
            answer.TrySetException(failure);
        }
        finally
        {
            Release();
        }
    }

    private void Release()
    {
        try
        {
            _free.Release();
        }
        catch (ObjectDisposedException)
        {
            // It outlived the agent's interest.
        }
    }
}
