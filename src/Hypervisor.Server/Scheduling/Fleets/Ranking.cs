namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>The best three rows of those offered.</summary>
internal struct Ranking()
{
    private double _first = double.NegativeInfinity;
    private double _second = double.NegativeInfinity;
    private double _third = double.NegativeInfinity;

    public int First { get; private set; } = -1;

    public int Second { get; private set; } = -1;

    public int Third { get; private set; } = -1;

    public readonly double FirstScore => _first;

    public readonly double SecondScore => _second;

    public readonly double ThirdScore => _third;

    /// <summary>What is below this need not be offered.</summary>
    public readonly double Bar => _third;

    public readonly bool Holds(int row) => row == First || row == Second || row == Third;

    public void Offer(Fleet fleet, int row, double score)
    {
        if (IsBefore(fleet, row, score, First, _first))
        {
            (Third, _third, Second, _second, First, _first) = (Second, _second, First, _first, row, score);
        }
        else if (IsBefore(fleet, row, score, Second, _second))
        {
            (Third, _third, Second, _second) = (Second, _second, row, score);
        }
        else if (IsBefore(fleet, row, score, Third, _third))
        {
            (Third, _third) = (row, score);
        }
    }

    private static bool IsBefore(Fleet fleet, int row, double score, int other, double otherScore) =>
        score != otherScore ? score > otherScore : other < 0 || fleet.IsBeforeAmongEquals(row, other);
}
