using Microsoft.Extensions.Time.Testing;

namespace Hypervisor.Tests;

/// <summary>
/// Moves a test's clock until what the test waits for has happened. What it waits for takes turns on other threads, and registers
/// its next timer when it gets to that: no number of steps is enough on a machine that is slow enough, so time itself is the bound.
/// </summary>
internal static class Clock
{
    /// <summary>Longer than a loaded machine with one core has ever needed; reached only when it will never happen.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(50);

    private static readonly TimeSpan Turn = TimeSpan.FromMilliseconds(1);

    /// <param name="step">As small as the shortest thing that must not be passed over, such as a lease that has to be renewed.</param>
    /// <exception cref="TimeoutException">The task did not end.</exception>
    public static async Task AdvanceUntilAsync(this FakeTimeProvider time, Task task, TimeSpan step) =>
        await AdvanceUntilAsync(time, () => task.IsCompleted, step);

    /// <inheritdoc cref="AdvanceUntilAsync(FakeTimeProvider, Task, TimeSpan)"/>
    public static async Task AdvanceUntilAsync(this FakeTimeProvider time, Func<bool> reached, TimeSpan step)
    {
        var started = RealClock.Instance.GetTimestamp();
        var passed = TimeSpan.Zero;
        while (!reached())
        {
            if (RealClock.Instance.GetElapsedTime(started) > Patience)
            {
                throw new TimeoutException(
                    $"It did not happen within {Patience.TotalSeconds} s, in which the test's clock moved on by {passed}.");
            }

            time.Advance(step);
            passed += step;
            await Task.Delay(Turn, RealClock.Instance);
        }
    }
}
