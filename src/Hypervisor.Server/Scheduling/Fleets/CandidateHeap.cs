namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// The rows of one place that fit one shape of request, the best on top; of a large fleet only the best few thousand. Each row is at most once in it,
/// with what it was worth when it was last looked at.
/// </summary>
/// <param name="kept">How many are kept when there are more than twice as many.</param>
internal sealed class CandidateHeap(Fleet fleet, RowStates states, int kept)
{
    /// <summary>Rows looked at to find three that are not kept out, before looking at all rows is the better way.</summary>
    private const int MaxVisited = 256;

    private Candidate[] _items = [];

    public int Count { get; private set; }

    /// <summary>
    /// No row that is not listed is better than this. Null when all that fit are listed.
    /// </summary>
    public Candidate? BestLeftOut { get; private set; }

    /// <summary>Whether it was made and is to be kept up to date.</summary>
    public bool IsMade { get; private set; }

    public double ScoreAt(int position) => _items[position].Score;

    /// <summary>Puts a row where it belongs, or takes it out when it is not worth listing.</summary>
    public void Set(Candidate candidate)
    {
        var position = states[candidate.Row];
        if (BestLeftOut is { } leftOut && IsBetter(leftOut, candidate))
        {
            Remove(candidate.Row);
        }
        else if (position < RowStates.Unlisted)
        {
            _items[position] = candidate;
            Sift(position);
        }
        else if (Count < kept * 2)
        {
            Append(candidate);
            SiftUp(Count - 1);
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
        if (position != --Count)
        {
            _items[position] = _items[Count];
            states[_items[position].Row] = (ushort)position;
            Sift(position);
        }
    }

    /// <summary>Begins anew with these, of which the best are kept.</summary>
    /// <param name="fitting">All that fit; its order is not kept.</param>
    public void Make(Span<Candidate> fitting)
    {
        Drop();
        IsMade = true;
        if (fitting.Length > kept * 2)
        {
            Select(fitting, kept);
            BestLeftOut = fitting[kept..][IndexOfBest(fitting[kept..])];
            fitting = fitting[..kept];
        }

        foreach (var candidate in fitting)
        {
            Append(candidate);
        }

        for (var position = (Count / 2) - 1; position >= 0; position--)
        {
            SiftDown(position);
        }
    }

    /// <summary>Offers the best rows that are not kept out.</summary>
    public Listed Offer(double bonus, KeptOut? keptOut, ref Ranking ranking)
    {
        // Three looks put four positions there at most; clearing room for hundreds would cost as much as the looks.
        Span<int> frontier = stackalloc int[keptOut is null ? 4 : MaxVisited + 2];
        var waiting = 0;
        var best = -1;
        var found = 0;
        if (Count > 0)
        {
            frontier[waiting++] = 0;
        }

        for (var visited = 0; waiting > 0 && found < 3; visited++)
        {
            var next = 0;
            for (var other = 1; other < waiting; other++)
            {
                next = IsBetter(_items[frontier[other]], _items[frontier[next]]) ? other : next;
            }

            var position = frontier[next];
            frontier[next] = frontier[--waiting];
            ref var item = ref _items[position];
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
                best = best < 0 ? position : best;
                found++;
                ranking.Offer(fleet, item.Row, item.Score + bonus);
            }

            if ((2 * position) + 1 < Count)
            {
                frontier[waiting++] = (2 * position) + 1;
            }

            if ((2 * position) + 2 < Count)
            {
                frontier[waiting++] = (2 * position) + 2;
            }
        }

        if (BestLeftOut is not { } leftOut || leftOut.Score + bonus < ranking.Bar || (best >= 0 && !IsBetter(leftOut, _items[best])))
        {
            return Listed.Best;
        }

        return Count > 0 && !IsBetter(leftOut, _items[0]) ? Listed.KeptOut : Listed.UsedUp;
    }

    private void Drop()
    {
        for (var position = 0; position < Count; position++)
        {
            states[_items[position].Row] = RowStates.Unlisted;
        }

        (Count, BestLeftOut, IsMade) = (0, null, false);
    }

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
        if (Count == _items.Length)
        {
            Array.Resize(ref _items, Math.Min(kept * 2, Math.Max(8, Count * 2)));
        }

        states[candidate.Row] = (ushort)Count;
        _items[Count++] = candidate;
    }

    private void Sift(int position)
    {
        if (position > 0 && IsBetter(_items[position], _items[(position - 1) / 2]))
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
        var item = _items[position];
        while (position > 0 && IsBetter(item, _items[(position - 1) / 2]))
        {
            Move((position - 1) / 2, position);
            position = (position - 1) / 2;
        }

        _items[position] = item;
        states[item.Row] = (ushort)position;
    }

    private void SiftDown(int position)
    {
        var item = _items[position];
        while (true)
        {
            var child = (2 * position) + 1;
            if (child >= Count)
            {
                break;
            }

            if (child + 1 < Count && IsBetter(_items[child + 1], _items[child]))
            {
                child++;
            }

            if (!IsBetter(_items[child], item))
            {
                break;
            }

            Move(child, position);
            position = child;
        }

        _items[position] = item;
        states[item.Row] = (ushort)position;
    }

    private void Move(int from, int to)
    {
        _items[to] = _items[from];
        states[_items[to].Row] = (ushort)to;
    }

    private bool IsBetter(in Candidate candidate, in Candidate other)
    {
        if (candidate.Score != other.Score)
        {
            return candidate.Score > other.Score;
        }

        return candidate.Instances != other.Instances
            ? candidate.Instances < other.Instances
            : candidate.Row != other.Row && string.CompareOrdinal(fleet.NameAt(candidate.Row), fleet.NameAt(other.Row)) < 0;
    }
}

/// <summary>A row as it was when it was last looked at.</summary>
internal readonly record struct Candidate(double Score, int Row, int Instances);

/// <summary>What a look at a heap came to.</summary>
internal enum Listed
{
    /// <summary>What was offered is the best there is.</summary>
    Best,

    /// <summary>The best are listed, and kept out.</summary>
    KeptOut,

    /// <summary>Better ones may not be listed.</summary>
    UsedUp,
}
