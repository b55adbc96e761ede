namespace Hypervisor.TestCluster;

/// <summary>The one place where tests of real processes take the real clock.</summary>
internal static class RealTime
{
#pragma warning disable RS0030 // Real processes live in real time.
    public static TimeProvider Clock => TimeProvider.System;
#pragma warning restore RS0030

    /// <summary>Asks until the answer is yes. A test fails with what it waited for, never by hanging.</summary>
    public static async Task UntilAsync(string what, TimeSpan deadline, Func<Task<bool>> condition)
    {
        var started = Clock.GetTimestamp();
        Exception? last = null;
        while (true)
        {
            try
            {
                if (await condition())
                {
                    return;
                }

                last = null;
            }
            catch (Grpc.Core.RpcException exception)
            {
                last = exception;
            }

            if (Clock.GetElapsedTime(started) > deadline)
            {
                throw new TimeoutException($"{what}: not within {deadline.TotalSeconds} s", last);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), Clock);
        }
    }

    public static Task UntilAsync(string what, TimeSpan deadline, Func<bool> condition) =>
        UntilAsync(what, deadline, () => Task.FromResult(condition()));
}
