using Hypervisor.Agent.Drivers.Libvirt.Interop;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Runs libvirt's blocking calls on threads of their own, no more than a few, and waits for none longer than it may.</summary>
/// <remarks>
/// A call that waits for a libvirtd that does not answer cannot be ended. Its thread stays until libvirt itself gives the connection up; while
/// all are taken, further calls fail at once.
/// </remarks>
internal sealed class LibvirtThreads(TimeProvider time)
{
    private int _taken;

    /// <exception cref="DriverException">RuntimeUnavailable: no answer in time, or too many calls wait already.</exception>
    /// <exception cref="LibvirtException">libvirt refused.</exception>
    public async Task<T> RunAsync<T>(Func<T> call, TimeSpan deadline, CancellationToken cancellationToken)
    {
        if (Interlocked.Increment(ref _taken) > LibvirtLimits.Calls)
        {
            Interlocked.Decrement(ref _taken);
            throw new DriverException(GuestLimits.Unavailable, $"libvirtd leaves {LibvirtLimits.Calls} calls without an answer", permanent: false);
        }

        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(Run, LibvirtLimits.StackBytes) { IsBackground = true, Name = "libvirt call" }.Start();
        try
        {
            return await answer.Task.WaitAsync(deadline, time, cancellationToken);
        }
        catch (TimeoutException late)
        {
            throw new DriverException(GuestLimits.Unavailable, $"libvirtd does not answer within {deadline.TotalSeconds:0} s", permanent: false, late);
        }

        void Run()
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
                Interlocked.Decrement(ref _taken);
            }
        }
    }
}
