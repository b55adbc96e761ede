using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Hosting.Waiting;

/// <summary>
/// Growing waits between attempts, with "full jitter above half": of many that failed together no two come back together,
/// and none comes back at once.
/// </summary>
internal sealed class Backoff(TimeSpan minimum, TimeSpan maximum, TimeProvider time, IRandomSource random)
{
    private int _attempts;

    public void Reset() => _attempts = 0;

    public Task WaitAsync(CancellationToken cancellationToken) =>
        Task.Delay(DelayAfter(++_attempts, minimum, maximum, random.NextUnit()), time, cancellationToken);

    /// <summary>
    /// The wait after the given number of failures (from 1): between half and all of minimum × 2^(failures − 1), at most
    /// maximum.
    /// </summary>
    /// <param name="unit">Uniform in [0, 1).</param>
    public static TimeSpan DelayAfter(int failures, TimeSpan minimum, TimeSpan maximum, double unit)
    {
        var doubled = minimum.TotalMilliseconds * Math.Pow(2, Math.Clamp(failures - 1, 0, 30));
        var bounded = Math.Min(doubled, maximum.TotalMilliseconds);
        return TimeSpan.FromMilliseconds(bounded * (0.5 + (unit / 2)));
    }
}
