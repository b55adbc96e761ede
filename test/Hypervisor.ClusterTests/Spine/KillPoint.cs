using System.Globalization;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>When the victim dies, from the moment at which the call is sent; negative: before it.</summary>
internal readonly record struct KillPoint(KillMatrix.Victim Victim, KillMatrix.Moment Moment, string Phase, TimeSpan At)
{
    /// <summary>To repeat a failure, or to look for others: "7" or "1-50", in place of the seeds of every run.</summary>
    public const string SeedsVariable = "HYPERVISOR_KILL_SEEDS";

    /// <summary>
    /// The victim lives at this point, or comes to, so a kill that found nothing is a failure of the test. Of an instance's own shim there is
    /// none while its instance does not run; around the call that changes this, one or the other is right.
    /// </summary>
    public bool FindsVictim => Victim != KillMatrix.Victim.Shim || Moment switch
    {
        KillMatrix.Moment.Create or KillMatrix.Moment.Start => Phase == "after",
        KillMatrix.Moment.Stop or KillMatrix.Moment.Delete => Phase == "before",
        _ => true,
    };

    /// <summary>The same in every run, so that a run can be compared with the one before.</summary>
    /// <param name="usual">Those of every run.</param>
    public static IEnumerable<int> Seeds(string usual = "1-2")
    {
        var range = (Environment.GetEnvironmentVariable(SeedsVariable) ?? usual).Split('-')
            .Select(number => int.Parse(number, CultureInfo.InvariantCulture)).ToList();
        return Enumerable.Range(range[0], range[^1] - range[0] + 1);
    }

    /// <summary>One point in each phase, of a long step within it only; the same for the same seed, victim, moment and length.</summary>
    /// <param name="length">Of the undisturbed step, from the call to what is wanted of it.</param>
    public static IReadOnlyList<KillPoint> Of(int seed, KillMatrix.Victim victim, KillMatrix.Moment moment, TimeSpan length)
    {
        // The seeded generator of .NET keeps its sequence between versions.
        var random = new Random((((seed * 31) + (int)victim) * 31) + (int)moment);
        List<KillPoint> points =
        [
            new(victim, moment, "before", -random.NextDouble() * length),
            new(victim, moment, "within", random.NextDouble() * length),
            new(victim, moment, "after", (1 + random.NextDouble()) * length),
        ];
        return moment is KillMatrix.Moment.Pull or KillMatrix.Moment.Streams ? points[1..2] : points;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Phase} the call at {At.TotalMilliseconds:F1} ms");
}
