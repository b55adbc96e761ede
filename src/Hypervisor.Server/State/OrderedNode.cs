namespace Hypervisor.Server.State;

/// <summary>What became of a node by a change.</summary>
/// <param name="Right">What did not fit into it any more, to be put behind it; null when all did.</param>
/// <param name="Low">No key of <paramref name="Right"/> is below it, and all that stayed are.</param>
/// <param name="Added">The key is new.</param>
internal readonly record struct OrderedChange<TValue>(OrderedNode<TValue> Node, OrderedNode<TValue>? Right, string? Low, bool Added);

/// <summary>
/// A node of the tree that <see cref="OrderedMap{TValue}"/> is: all leaves are equally deep. Immutable for all but the builder that made it and has not given
/// it away.
/// </summary>
internal abstract class OrderedNode<TValue>(object owner)
{
    /// <summary>Of entries or children: what a change copies, against how much a node itself takes.</summary>
    protected const int Most = 32;

    /// <summary>A node with fewer is joined to its neighbour where there is room.</summary>
    protected const int Few = Most / 4;

    /// <summary>The builder that may change it.</summary>
    protected object Owner { get; } = owner;

    /// <summary>Entries or children.</summary>
    protected abstract int Size { get; }

    public abstract OrderedChange<TValue> Set(string key, TValue value, object owner);

    /// <param name="key">Of an entry.</param>
    /// <returns>Null when nothing is left.</returns>
    public abstract OrderedNode<TValue>? Remove(string key, object owner);

    public static bool TryFind(OrderedNode<TValue>? root, string key, out TValue? value)
    {
        var node = root;
        while (node is OrderedBranch<TValue> branch)
        {
            node = branch.Children[branch.ChildOf(key)];
        }

        if (node is OrderedLeaf<TValue> leaf && leaf.PositionOf(key) is >= 0 and var position)
        {
            value = leaf.Items[position].Value;
            return true;
        }

        value = default;
        return false;
    }

    /// <summary>Entries in order.</summary>
    /// <param name="start">Those before it are left out; null means from the first.</param>
    public static IEnumerable<KeyValuePair<string, TValue>> From(OrderedNode<TValue>? root, string? start)
    {
        var path = new Stack<(OrderedBranch<TValue> Branch, int Child)>();
        for (var node = root; node is not null; node = Next(path))
        {
            while (node is OrderedBranch<TValue> branch)
            {
                var child = start is null ? 0 : branch.ChildOf(start);
                path.Push((branch, child));
                node = branch.Children[child];
            }

            var items = ((OrderedLeaf<TValue>)node).Items;
            var position = start is null ? 0 : ((OrderedLeaf<TValue>)node).PositionOf(start);
            start = null;
            for (position = position < 0 ? ~position : position; position < items.Length; position++)
            {
                yield return items[position];
            }
        }
    }

    /// <summary>Both in one, or null when they are too much for one.</summary>
    protected abstract OrderedNode<TValue>? Join(OrderedNode<TValue> next, string low, object owner);

    /// <summary>Where a node that has become too large is divided: what grows at its end, as names by number do, leaves full nodes behind.</summary>
    /// <param name="added">The position of what made it too large.</param>
    protected static int Half(int size, int added) => added == size - 1 ? size - 1 : size / 2;

    /// <summary>Joins a child that has become small to one of its neighbours.</summary>
    /// <returns>The position of the child that is gone and what is in the place before it now; null when all stay.</returns>
    protected static (int Gone, OrderedNode<TValue>? Joined) Tidy(OrderedBranch<TValue> branch, int child, object owner)
    {
        if (branch.Children[child].Size >= Few)
        {
            return (-1, null);
        }

        for (var right = child + 1; right >= child; right--)
        {
            if (right > 0 && right < branch.Children.Length && branch.Children[right - 1].Join(branch.Children[right], branch.Lows[right], owner) is { } joined)
            {
                return (right, joined);
            }
        }

        return (-1, null);
    }

    protected static T[] Inserted<T>(T[] items, int position, T item)
    {
        var larger = new T[items.Length + 1];
        items.AsSpan(0, position).CopyTo(larger);
        larger[position] = item;
        items.AsSpan(position).CopyTo(larger.AsSpan(position + 1));
        return larger;
    }

    protected static T[] Removed<T>(T[] items, int position)
    {
        var smaller = new T[items.Length - 1];
        items.AsSpan(0, position).CopyTo(smaller);
        items.AsSpan(position + 1).CopyTo(smaller.AsSpan(position));
        return smaller;
    }

    private static OrderedNode<TValue>? Next(Stack<(OrderedBranch<TValue> Branch, int Child)> path)
    {
        while (path.TryPop(out var at))
        {
            if (at.Child + 1 < at.Branch.Children.Length)
            {
                path.Push((at.Branch, at.Child + 1));
                return at.Branch.Children[at.Child + 1];
            }
        }

        return null;
    }
}

/// <summary>Entries, in order, never none.</summary>
internal sealed class OrderedLeaf<TValue>(object owner, KeyValuePair<string, TValue>[] items) : OrderedNode<TValue>(owner)
{
    public KeyValuePair<string, TValue>[] Items { get; private set; } = items;

    protected override int Size => Items.Length;

    /// <returns>As of <see cref="Array.BinarySearch{T}(T[], T)"/>.</returns>
    public int PositionOf(string key)
    {
        var (from, to) = (0, Items.Length - 1);
        while (from <= to)
        {
            var middle = (from + to) >>> 1;
            var order = string.CompareOrdinal(Items[middle].Key, key);
            if (order == 0)
            {
                return middle;
            }

            (from, to) = order < 0 ? (middle + 1, to) : (from, middle - 1);
        }

        return ~from;
    }

    public override OrderedChange<TValue> Set(string key, TValue value, object owner)
    {
        var position = PositionOf(key);
        if (position >= 0)
        {
            var same = Owner == owner ? this : new(owner, [.. Items]);
            same.Items[position] = new(Items[position].Key, value);
            return new(same, null, null, Added: false);
        }

        position = ~position;
        var items = Inserted(Items, position, new(key, value));
        if (items.Length <= Most)
        {
            return new(With(items, owner), null, null, Added: true);
        }

        var half = Half(items.Length, position);
        var right = new OrderedLeaf<TValue>(owner, items[half..]);
        return new(With(items[..half], owner), right, right.Items[0].Key, Added: true);
    }

    public override OrderedNode<TValue>? Remove(string key, object owner) =>
        Items.Length == 1 ? null : With(Removed(Items, PositionOf(key)), owner);

    protected override OrderedNode<TValue>? Join(OrderedNode<TValue> next, string low, object owner) =>
        next is OrderedLeaf<TValue> other && Items.Length + other.Items.Length <= Most
            ? new OrderedLeaf<TValue>(owner, [.. Items, .. other.Items])
            : null;

    private OrderedLeaf<TValue> With(KeyValuePair<string, TValue>[] items, object owner)
    {
        if (Owner != owner)
        {
            return new(owner, items);
        }

        Items = items;
        return this;
    }
}

/// <summary>Nodes one level down, in order, never none.</summary>
/// <param name="lows">No key of a child is below its own, and all of the child before are; the first means nothing.</param>
internal sealed class OrderedBranch<TValue>(object owner, string[] lows, OrderedNode<TValue>[] children) : OrderedNode<TValue>(owner)
{
    public string[] Lows { get; private set; } = lows;

    public OrderedNode<TValue>[] Children { get; private set; } = children;

    protected override int Size => Children.Length;

    /// <summary>The only child that may have the key.</summary>
    public int ChildOf(string key)
    {
        var (from, to) = (1, Lows.Length - 1);
        while (from <= to)
        {
            var middle = (from + to) >>> 1;
            (from, to) = string.CompareOrdinal(Lows[middle], key) <= 0 ? (middle + 1, to) : (from, middle - 1);
        }

        return from - 1;
    }

    public override OrderedChange<TValue> Set(string key, TValue value, object owner)
    {
        var child = ChildOf(key);
        var change = Children[child].Set(key, value, owner);
        var same = Replaced(child, change.Node, owner);
        if (change.Right is not { } added)
        {
            return new(same, null, null, change.Added);
        }

        var (lows, children) = (Inserted(same.Lows, child + 1, change.Low!), Inserted(same.Children, child + 1, added));
        if (children.Length <= Most)
        {
            return new(same.With(lows, children, owner), null, null, change.Added);
        }

        var half = Half(children.Length, child + 1);
        return new(
            same.With(lows[..half], children[..half], owner), new OrderedBranch<TValue>(owner, lows[half..], children[half..]), lows[half], change.Added);
    }

    public override OrderedNode<TValue>? Remove(string key, object owner)
    {
        var child = ChildOf(key);
        if (Children[child].Remove(key, owner) is not { } left)
        {
            return Children.Length == 1 ? null : With(Removed(Lows, child), Removed(Children, child), owner);
        }

        var same = Replaced(child, left, owner);
        var (gone, joined) = Tidy(same, child, owner);
        if (joined is null)
        {
            return same;
        }

        same = same.With(Removed(same.Lows, gone), Removed(same.Children, gone), owner);
        return same.Replaced(gone - 1, joined, owner);
    }

    protected override OrderedNode<TValue>? Join(OrderedNode<TValue> next, string low, object owner) =>
        next is OrderedBranch<TValue> other && Children.Length + other.Children.Length <= Most
            ? new OrderedBranch<TValue>(owner, [.. Lows, low, .. other.Lows.AsSpan(1)], [.. Children, .. other.Children])
            : null;

    private OrderedBranch<TValue> Replaced(int child, OrderedNode<TValue> node, object owner)
    {
        if (Children[child] == node)
        {
            return this;
        }

        var same = Owner == owner ? this : new(owner, Lows, [.. Children]);
        same.Children[child] = node;
        return same;
    }

    private OrderedBranch<TValue> With(string[] lows, OrderedNode<TValue>[] children, object owner)
    {
        if (Owner != owner)
        {
            return new(owner, lows, children);
        }

        (Lows, Children) = (lows, children);
        return this;
    }
}
