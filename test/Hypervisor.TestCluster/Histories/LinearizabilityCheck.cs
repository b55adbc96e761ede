namespace Hypervisor.TestCluster.Histories;

/// <summary>
/// Linearizable, for one key: is there an order of the operations, each at one moment between its call and its answer, in which
/// every answer is right? Searches it as Wing and Gong do, and remembers where the search has been (Lowe, "Testing for
/// linearizability", 2017).
/// </summary>
internal sealed class LinearizabilityCheck
{
    /// <summary>Of distinct situations; a history of a few thousand operations of ten clients needs some thousands.</summary>
    private const int MaxSituations = 4_000_000;

    private readonly Operation[] _known;
    private readonly Operation[] _unknown;
    private readonly HashSet<Situation> _visited = [];
    private readonly int _words;
    private (int Placed, KeyState State, ulong[] Used) _furthest;

    private LinearizabilityCheck(IEnumerable<Operation> history)
    {
        var operations = history.OrderBy(operation => operation.Invoked).ToList();
        var shown = Shown(operations);
        _known =
        [
            .. operations.Where(operation => operation.IsKnown),
            .. operations.Where(operation => !operation.IsKnown && shown.ContainsKey(operation.Value))
                .Select(operation => operation with { Outcome = Outcome.Done, Returned = shown[operation.Value] }),
        ];
        Array.Sort(_known, (one, other) => one.Invoked.CompareTo(other.Invoked));

        // A read whose answer was lost tells nothing, and neither does a change that nobody ever saw: without it all answers are the
        // same. One that made or ended the object may explain others.
        _unknown = [.. operations.Where(operation =>
            !operation.IsKnown && !shown.ContainsKey(operation.Value) && operation.Kind is (OperationKind.Create or OperationKind.Delete))];
        _words = (_known.Length + _unknown.Length + 63) / 64;
        _furthest = (0, KeyState.Empty, new ulong[_words]);
    }

    /// <summary>Why the key's history is not linearizable; null if it is.</summary>
    /// <exception cref="InvalidOperationException">The search was too long to decide.</exception>
    public static string? Violation(IEnumerable<Operation> history)
    {
        var check = new LinearizabilityCheck(history);
        return check.Search() ? null : check.Explain();
    }

    /// <summary>When each value was first read: its write has taken effect before, whatever became of the reply.</summary>
    private static Dictionary<string, long> Shown(List<Operation> operations)
    {
        var shown = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var operation in operations.Where(operation => operation is { Kind: OperationKind.Get, Outcome: Outcome.Done }))
        {
            shown[operation.Value] = Math.Min(operation.Returned, shown.GetValueOrDefault(operation.Value, long.MaxValue));
        }

        return shown;
    }

    private bool Search()
    {
        var stack = new Stack<(Step From, IEnumerator<(int Index, KeyState After)> Choices)>();
        var start = new Step(0, 0, KeyState.Empty, new ulong[_words]);
        stack.Push((start, Choices(start).GetEnumerator()));
        while (stack.Count > 0)
        {
            var (from, choices) = stack.Peek();
            if (from.Placed == _known.Length)
            {
                return true;
            }

            if (!choices.MoveNext())
            {
                stack.Pop();
                continue;
            }

            var (index, after) = choices.Current;
            var used = (ulong[])from.Used.Clone();
            used[index / 64] |= 1UL << (index % 64);
            if (!_visited.Add(new Situation(used, after)))
            {
                continue;
            }

            if (_visited.Count > MaxSituations)
            {
                throw new InvalidOperationException($"not decided after {MaxSituations} situations: {Explain()}");
            }

            var first = from.First;
            while (first < _known.Length && IsUsed(used, first))
            {
                first++;
            }

            var next = new Step(first, from.Placed + (index < _known.Length ? 1 : 0), after, used);
            if (next.Placed > _furthest.Placed)
            {
                _furthest = (next.Placed, after, used);
            }

            stack.Push((next, Choices(next).GetEnumerator()));
        }

        return false;
    }

    /// <summary>What may be next: operations called before any that is left was answered, and possible in the state.</summary>
    private IEnumerable<(int Index, KeyState After)> Choices(Step from)
    {
        var earliest = long.MaxValue;
        for (var index = from.First; index < _known.Length && _known[index].Invoked < earliest; index++)
        {
            if (!IsUsed(from.Used, index))
            {
                earliest = Math.Min(earliest, _known[index].Returned);
            }
        }

        for (var index = from.First; index < _known.Length && _known[index].Invoked < earliest; index++)
        {
            if (!IsUsed(from.Used, index) && from.State.After(_known[index]) is { } after)
            {
                yield return (index, after);
            }
        }

        // Last: most of them never took effect. One that has none in this state needs no place, it may as well be later.
        for (var index = 0; index < _unknown.Length && _unknown[index].Invoked < earliest; index++)
        {
            if (!IsUsed(from.Used, _known.Length + index) && from.State.After(_unknown[index]) is { } after)
            {
                yield return (_known.Length + index, after);
            }
        }
    }

    private string Explain()
    {
        var (placed, state, used) = _furthest;
        var left = _known.Where((_, index) => !IsUsed(used, index)).Take(8);
        var lost = _unknown.Where((_, index) => !IsUsed(used, _known.Length + index)).Take(8);
        return $"after {placed} of {_known.Length} operations the key can hold {state}, and none of these can be next:\n  "
            + string.Join("\n  ", left.Concat(lost));
    }

    private static bool IsUsed(ulong[] used, int index) => (used[index / 64] & (1UL << (index % 64))) != 0;

    /// <param name="First">The first known operation that has no place yet.</param>
    /// <param name="Placed">Known operations that have one.</param>
    private readonly record struct Step(int First, int Placed, KeyState State, ulong[] Used);

    /// <summary>Which operations have a place, and the state they lead to: what follows depends on nothing else.</summary>
    private readonly struct Situation(ulong[] used, KeyState state) : IEquatable<Situation>
    {
        private readonly ulong[] _used = used;
        private readonly KeyState _state = state;

        public bool Equals(Situation other) => _state == other._state && _used.AsSpan().SequenceEqual(other._used);

        public override bool Equals(object? obj) => obj is Situation other && Equals(other);

        public override int GetHashCode()
        {
            var hash = default(HashCode);
            hash.Add(_state);
            foreach (var word in _used)
            {
                hash.Add(word);
            }

            return hash.ToHashCode();
        }
    }
}
