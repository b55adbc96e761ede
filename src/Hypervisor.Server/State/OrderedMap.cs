using System.Collections;

namespace Hypervisor.Server.State;

/// <summary>
/// An immutable map from text to values in ordinal order of the keys, with ranges. A changed copy shares all but a few
/// nodes with its original, which is what makes keeping old views cheap.
/// </summary>
/// <remarks>
/// A B+ tree: some 20 bytes and a twentieth of an object for each entry, where a binary tree has an object of 56 bytes that the garbage collector
/// has to follow. A key that is set again stays the object it was.
/// </remarks>
internal sealed class OrderedMap<TValue> : IEnumerable<KeyValuePair<string, TValue>>
{
    private readonly OrderedNode<TValue>? _root;

    private OrderedMap(OrderedNode<TValue>? root, int count) => (_root, Count) = (root, count);

    public static OrderedMap<TValue> Empty { get; } = new(null, 0);

    public int Count { get; }

    public TValue? Find(string key) => OrderedNode<TValue>.TryFind(_root, key, out var value) ? value : default;

    public bool ContainsKey(string key) => OrderedNode<TValue>.TryFind(_root, key, out _);

    /// <summary>Values with keys in [start, end), in order; a null end means to the last.</summary>
    public IEnumerable<TValue> Range(string start, string? end)
    {
        foreach (var (key, value) in OrderedNode<TValue>.From(_root, start))
        {
            if (end is not null && string.CompareOrdinal(key, end) >= 0)
            {
                yield break;
            }

            yield return value;
        }
    }

    /// <summary>Values whose keys begin with the prefix, in order.</summary>
    public IEnumerable<TValue> WithPrefix(string prefix) => prefix.Length == 0
        ? Values
        : Range(prefix, Stores.RangeQuery.PrefixEnd(prefix));

    public IEnumerable<TValue> Values => this.Select(item => item.Value);

    public IEnumerable<string> Keys => this.Select(item => item.Key);

    public Builder ToBuilder() => new(this);

    public IEnumerator<KeyValuePair<string, TValue>> GetEnumerator() => OrderedNode<TValue>.From(_root, null).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Collects changes; not for concurrent use.</summary>
    internal sealed class Builder(OrderedMap<TValue> map)
    {
        // Nodes made by this builder for a map that nobody has yet may be changed where they are.
        private object _owner = new();
        private OrderedMap<TValue> _map = map;
        private OrderedNode<TValue>? _root = map._root;
        private int _count = map.Count;

        public TValue? Find(string key) => OrderedNode<TValue>.TryFind(_root, key, out var value) ? value : default;

        public void Set(string key, TValue value)
        {
            if (_root is null)
            {
                (_root, _count) = (new OrderedLeaf<TValue>(_owner, [new(key, value)]), 1);
                return;
            }

            var change = _root.Set(key, value, _owner);
            _root = change.Right is null ? change.Node : new OrderedBranch<TValue>(_owner, ["", change.Low!], [change.Node, change.Right]);
            _count += change.Added ? 1 : 0;
        }

        public void Remove(string key)
        {
            if (_root is null || !OrderedNode<TValue>.TryFind(_root, key, out _))
            {
                return;
            }

            _root = _root.Remove(key, _owner);
            _count--;
            while (_root is OrderedBranch<TValue> { Children: [var only] })
            {
                _root = only;
            }
        }

        public OrderedMap<TValue> ToMap()
        {
            if (_root != _map._root)
            {
                (_map, _owner) = (new(_root, _count), new());
            }

            return _map;
        }
    }
}
