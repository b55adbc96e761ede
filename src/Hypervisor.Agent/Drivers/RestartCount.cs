namespace Hypervisor.Agent.Drivers;

/// <summary>How often a process was started again although no user asked, in one run that a user did ask for.</summary>
/// <param name="Total">Since that user's start.</param>
/// <param name="Streak">The latest of them, after runs that were short each time.</param>
internal readonly record struct RestartCount(int Total, int Streak)
{
    /// <summary>With one more start, after a run of the given length.</summary>
    public RestartCount After(TimeSpan ran) => new(Total + 1, IsStable(ran) ? 1 : Streak + 1);

    /// <summary>The wait before the next start, after a run of the given length: doubles with each short run.</summary>
    public TimeSpan DelayAfter(TimeSpan ran) => IsStable(ran)
        ? Limits.RestartMinimum
        : TimeSpan.FromTicks(Math.Min(Limits.RestartMaximum.Ticks, Limits.RestartMinimum.Ticks << Math.Min(Streak, 20)));

    private static bool IsStable(TimeSpan ran) => ran >= Limits.StableRun;
}
