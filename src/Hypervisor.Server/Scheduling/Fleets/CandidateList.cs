namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// The rows of one place that fit one shape of request, the best first; of a large fleet only the best few thousand. Each row is at most once in it,
/// with what it was worth when it was last looked at. Those that have not changed since the list was made are sorted, and leave it at no cost, as most
/// do, for others have filled them; those that have are on a heap, which is small.
/// </summary>
/// <param name="kept">How many are kept when there are more than twice as many.</param>
internal sealed class CandidateList(Fleet fleet, RowStates states, int kept)
{
    /// <summary>Rows looked at to find three that are not kept out, before looking at all rows is the better way.</summary>
    private const int MaxVisited = 256;

    /// <summary>Children of each on the heap: they lie side by side, 64 bytes, and a way to the bottom has half as many steps as with two.</summary>
    private const int Arity = 4;

    /// <summary>The best first, from <see cref="_next"/> to <see cref="_end"/>; but for those whose state is not <see cref="RowStates.Sorted"/> any more.</summary>
    private Candidate[] _sorted = [];
    private int _next;
    private int _end;

    private Candidate[] _changed = [];
    private int _changedCount;

    /// <summary>
    /// No row that is not listed is better than this. Null when all that fit are listed.
    /// </summary>
    public Candidate? BestLeftOut { get; private set; }

    /// <summary>Whether it was made and is to be kept up to date.</summary>
    public bool IsMade { get; private set; }

    /// <summary>Puts a row where it belongs, or takes it out when it is not worth listing.</summary>
    public void Set(Candidate candidate)
    {
        var position = states[candidate.Row];
        if (BestLeftOut is { } leftOut && IsBetter(leftOut, candidate))
        {
            Remove(candidate.Row);
        }
        else if (position < RowStates.Sorted)
        {
            _changed[position] = candidate;
            Sift(position);
        }
        else if (_changedCount < kept * 2)
        {
            Append(candidate);
            SiftUp(_changedCount - 1);
        }
        else
        {
            // Finding out which half is not worth keeping is as dear as making it anew.
            Drop();
        }
    }

    public void Remove(int row)
    {
        var position = states[row];
        if (position >= RowStates.Unlisted)
        {
            return;
        }

        states[row] = RowStates.Unlisted;
        if (position < RowStates.Sorted && position != --_changedCount)
        {
            _changed[position] = _changed[_changedCount];
            states[_changed[position].Row] = (ushort)position;
            Sift(position);
        }
    }

    /// <summary>Lists nothing until it is made again.</summary>
    public void Drop()
    {
        for (; _next < _end; _next++)
        {
            var row = _sorted[_next].Row;
            states[row] = states[row] == RowStates.Sorted ? RowStates.Unlisted : states[row];
        }

        for (var position = 0; position < _changedCount; position++)
        {
            states[_changed[position].Row] = RowStates.Unlisted;
        }

        (_next, _end, _changedCount, BestLeftOut, IsMade) = (0, 0, 0, null, false);
    }

    /// <summary>Begins anew with these, of which the best are kept.</summary>
    /// <param name="fitting">Its order is not kept.</param>
    /// <param name="bestLeftOut">The best of those that fit and are not among them, which are all worse; null when there are none.</param>
    public void Make(Span<Candidate> fitting, Candidate? bestLeftOut)
    {
        Drop();
        (IsMade, BestLeftOut) = (true, bestLeftOut);
        if (fitting.Length > kept * 2)
        {
            Select(fitting, kept);
            BestLeftOut = fitting[kept..][IndexOfBest(fitting[kept..])];
            fitting = fitting[..kept];
        }

        if (_sorted.Length < fitting.Length)
        {
            _sorted = new Candidate[fitting.Length];
        }

        fitting.CopyTo(_sorted);
        _sorted.AsSpan(0, fitting.Length).Sort(Compare);
        (_next, _end) = (0, fitting.Length);
        foreach (ref readonly var candidate in fitting)
        {
            states[candidate.Row] = RowStates.Sorted;
        }
    }

    /// <summary>Offers the best rows that are not kept out.</summary>
    public Listed Offer(double bonus, KeptOut? keptOut, ref Ranking ranking)
    {
        // Three looks put ten positions there at most; clearing room for hundreds would cost as much as the looks.
        var looks = keptOut is null ? 3 : MaxVisited;
        Span<int> frontier = stackalloc int[(looks * Arity) + 1];
        Span<int> seen = stackalloc int[looks];
        var (waiting, sorted, seenCount, found) = (0, _next = Skip(_next), 0, 0);
        Candidate? best = null;
        if (_changedCount > 0)
        {
            frontier[waiting++] = 0;
        }

        for (var visited = 0; found < 3 && (waiting > 0 || sorted < _end); visited++)
        {
            var next = 0;
            for (var other = 1; other < waiting; other++)
            {
                next = IsBetter(_changed[frontier[other]], _changed[frontier[next]]) ? other : next;
            }

            var isSorted = sorted < _end && (waiting == 0 || IsBetter(_sorted[sorted], _changed[frontier[next]]));
            var item = isSorted ? _sorted[sorted] : _changed[frontier[next]];
            if (item.Score + bonus < ranking.Bar)
            {
                break;
            }

            if (visited == MaxVisited)
            {
                return Listed.KeptOut;
            }

            if (keptOut is null || !keptOut.Contains(item.Row))
            {
                best ??= item;
                found++;
                ranking.Offer(fleet, item.Row, item.Score + bonus);
            }

            if (isSorted)
            {
                seen[seenCount++] = sorted;
                sorted = Skip(sorted + 1);
                continue;
            }

            var position = frontier[next];
            frontier[next] = frontier[--waiting];
            for (var child = (Arity * position) + 1; child <= Arity * (position + 1) && child < _changedCount; child++)
            {
                frontier[waiting++] = child;
            }
        }

        Close(seen[..seenCount], sorted);
        if (BestLeftOut is not { } leftOut || leftOut.Score + bonus < ranking.Bar || (best is { } offered && !IsBetter(leftOut, offered)))
        {
            return Listed.Best;
        }

        return IsWorse(leftOut) ? Listed.KeptOut : Listed.UsedUp;
    }

    /// <summary>The first from there on that is listed; the end when none is.</summary>
    private int Skip(int position)
    {
        while (position < _end && states[_sorted[position].Row] != RowStates.Sorted)
        {
            position++;
        }

        return position;
    }

    /// <summary>Puts those that were seen next to each other, so that what was skipped is not skipped again.</summary>
    /// <param name="seen">Their positions, in order.</param>
    /// <param name="rest">Of the first that was not seen.</param>
    private void Close(ReadOnlySpan<int> seen, int rest)
    {
        for (var index = seen.Length - 1; index >= 0; index--)
        {
            _sorted[--rest] = _sorted[seen[index]];
        }

        _next = rest;
    }

    /// <summary>Whether some row that is listed is no worse.</summary>
    private bool IsWorse(in Candidate leftOut) =>
        (_changedCount > 0 && !IsBetter(leftOut, _changed[0])) || (_next < _end && !IsBetter(leftOut, _sorted[_next]));

    /// <summary>Puts the best in front of all others, neither part in any order: Hoare's selection.</summary>
    private void Select(Span<Candidate> all, int best)
    {
        var (from, to) = (0, all.Length - 1);
        while (from < to)
        {
            var pivot = all[(from + to) >>> 1];
            var (left, right) = (from, to);
            while (left <= right)
            {
                while (IsBetter(all[left], pivot))
                {
                    left++;
                }

                while (IsBetter(pivot, all[right]))
                {
                    right--;
                }

                if (left <= right)
                {
                    (all[left], all[right]) = (all[right], all[left]);
                    left++;
                    right--;
                }
            }

            if (best <= right)
            {
                to = right;
            }
            else if (best >= left)
            {
                from = left;
            }
            else
            {
                return;
            }
        }
    }

    private int IndexOfBest(ReadOnlySpan<Candidate> candidates)
    {
        var best = 0;
        for (var index = 1; index < candidates.Length; index++)
        {
            best = IsBetter(candidates[index], candidates[best]) ? index : best;
        }

        return best;
    }

    private void Append(Candidate candidate)
    {
        if (_changedCount == _changed.Length)
        {
            Array.Resize(ref _changed, Math.Min(kept * 2, Math.Max(8, _changedCount * 2)));
        }

        states[candidate.Row] = (ushort)_changedCount;
        _changed[_changedCount++] = candidate;
    }

    private void Sift(int position)
    {
        if (position > 0 && IsBetter(_changed[position], _changed[(position - 1) / Arity]))
        {
            SiftUp(position);
        }
        else
        {
            SiftDown(position);
        }
    }

    private void SiftUp(int position)
    {
        var item = _changed[position];
        while (position > 0 && IsBetter(item, _changed[(position - 1) / Arity]))
        {
            Move((position - 1) / Arity, position);
            position = (position - 1) / Arity;
        }

        _changed[position] = item;
        states[item.Row] = (ushort)position;
    }

    private void SiftDown(int position)
    {
        var item = _changed[position];
        while (true)
        {
            var first = (Arity * position) + 1;
            if (first >= _changedCount)
            {
                break;
            }

            var best = first;
            for (var child = first + 1; child < Math.Min(first + Arity, _changedCount); child++)
            {
                best = IsBetter(_changed[child], _changed[best]) ? child : best;
            }

            if (!IsBetter(_changed[best], item))
            {
                break;
            }

            Move(best, position);
            position = best;
        }

        _changed[position] = item;
        states[item.Row] = (ushort)position;
    }

    private void Move(int from, int to)
    {
        _changed[to] = _changed[from];
        states[_changed[to].Row] = (ushort)to;
    }

    /// <summary>The higher score first, then fewer instances, then names.</summary>
    public bool IsBetter(in Candidate candidate, in Candidate other) =>
        candidate.Score != other.Score ? candidate.Score > other.Score : Compare(candidate, other) < 0;

    private int Compare(Candidate one, Candidate other) =>
        one.Score != other.Score ? (one.Score > other.Score ? -1 : 1)
        : one.Instances != other.Instances ? one.Instances - other.Instances
        : one.Row == other.Row ? 0
        : string.CompareOrdinal(fleet.NameAt(one.Row), fleet.NameAt(other.Row));
}

/// <summary>A row as it was when it was last looked at.</summary>
internal readonly record struct Candidate(double Score, int Row, int Instances);

/// <summary>What a look at a list came to.</summary>
internal enum Listed
{
    /// <summary>What was offered is the best there is.</summary>
    Best,

    /// <summary>The best are listed, and kept out.</summary>
    KeptOut,

    /// <summary>Better ones may not be listed.</summary>
    UsedUp,
}
