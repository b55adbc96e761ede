namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// The order in which rows last changed. By itself, for whoever follows it waits for one row after the other: through what is small enough for the
/// processor's caches, and not through the rows, which are then fetched several at a time.
/// </summary>
internal sealed class RowOrder
{
    private Place[] _places = [];

    /// <summary>Counts changes.</summary>
    public long Clock { get; private set; }

    /// <summary>The row that changed last; -1 before any did.</summary>
    public int Newest { get; private set; } = -1;

    /// <summary>The clock when a row last changed; 0 before it did.</summary>
    public long StampOf(int row) => _places[row].Stamp;

    /// <summary>
    /// Rows that changed after that moment, the last one first, as many as there is room for.
    /// </summary>
    /// <param name="from">The first to look at: <see cref="Newest"/>, then what <paramref name="rest"/> was.</param>
    /// <param name="rest">The one to go on from; -1 when all were told.</param>
    /// <returns>How many were told.</returns>
    public int ChangedSince(long clock, int from, Span<int> rows, out int rest)
    {
        var count = 0;
        for (rest = from; rest >= 0; rest = _places[rest].Older)
        {
            if (_places[rest].Stamp <= clock)
            {
                rest = -1;
                break;
            }

            if (count == rows.Length)
            {
                break;
            }

            rows[count++] = rest;
        }

        return count;
    }

    /// <summary>Makes room for so many rows, of which none has changed yet.</summary>
    public void Grow(int rows) => Array.Resize(ref _places, rows);

    /// <summary>A row has changed: it goes in front of all others.</summary>
    public void Touch(int row)
    {
        ref var at = ref _places[row];
        var isNew = at.Stamp == 0;
        at.Stamp = ++Clock;
        if (Newest == row)
        {
            return;
        }

        if (!isNew)
        {
            // Not the newest: there is one that is newer.
            _places[at.Newer].Older = at.Older;
            if (at.Older >= 0)
            {
                _places[at.Older].Newer = at.Newer;
            }
        }

        (at.Newer, at.Older) = (-1, Newest);
        if (Newest >= 0)
        {
            _places[Newest].Newer = row;
        }

        Newest = row;
    }

    /// <param name="Newer">The row that changed just after this one did; none: -1.</param>
    /// <param name="Older">The row that changed just before.</param>
    private record struct Place(long Stamp, int Newer, int Older);
}
