namespace Hypervisor.Server.Controllers.Groups;

/// <summary>What one look at a group left behind.</summary>
/// <param name="Again">When to look again, whatever happens.</param>
/// <param name="WaitsForRoom">It is worth another look when nodes change.</param>
internal readonly record struct GroupPass(TimeSpan Again, bool WaitsForRoom = false)
{
    /// <summary>Something was written: there may be more to do.</summary>
    public static GroupPass Continue => new(TimeSpan.Zero);

    /// <summary>A write lost a race: what won shows in the next look.</summary>
    public static GroupPass Unfinished => new(Limits.Groups.Pause);

    public static GroupPass Done => new(Limits.Control.ReconcilePeriod);
}
