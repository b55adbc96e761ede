using System.Collections;
using System.Collections.Immutable;

namespace Hypervisor.Server.State;

/// <summary>
/// An immutable map from text to values in ordinal order of the keys, with ranges. A changed copy shares all but a few
/// nodes with its original, which is what makes keeping old views cheap.
/// </summary>
internal sealed class OrderedMap<TValue> : IEnumerable<KeyValuePair<string, TValue>>
{
    // ImmutableSortedDictionary cannot seek to a key that is absent; the set can.
    private readonly ImmutableSortedSet<KeyValuePair<string, TValue>> _items;

    private OrderedMap(ImmutableSortedSet<KeyValuePair<string, TValue>> items) => _items = items;

    public static OrderedMap<TValue> Empty { get; } = new(ImmutableSortedSet.Create<KeyValuePair<string, TValue>>(KeyOrder.Instance));

    public int Count => _items.Count;

    public TValue? Find(string key) => _items.TryGetValue(new(key, default!), out var found) ? found.Value : default;

    public bool ContainsKey(string key) => _items.Contains(new(key, default!));

    /// <summary>Values with keys in [start, end), in order; a null end means to the last.</summary>
    public IEnumerable<TValue> Range(string start, string? end)
    {
        var index = _items.IndexOf(new(start, default!));
        for (index = index < 0 ? ~index : index; index < _items.Count; index++)
        {
            var item = _items[index];
            if (end is not null && string.CompareOrdinal(item.Key, end) >= 0)
            {
                yield break;
            }

            yield return item.Value;
        }
    }

    /// <summary>Values whose keys begin with the prefix, in order.</summary>
    public IEnumerable<TValue> WithPrefix(string prefix) => prefix.Length == 0
        ? Values
        : Range(prefix, Stores.RangeQuery.PrefixEnd(prefix));

    public IEnumerable<TValue> Values => _items.Select(item => item.Value);

    public IEnumerable<string> Keys => _items.Select(item => item.Key);

    public Builder ToBuilder() => new(_items.ToBuilder());

    public IEnumerator<KeyValuePair<string, TValue>> GetEnumerator() => _items.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Collects changes; not for concurrent use.</summary>
    internal sealed class Builder(ImmutableSortedSet<KeyValuePair<string, TValue>>.Builder items)
    {
        public TValue? Find(string key) => items.TryGetValue(new(key, default!), out var found) ? found.Value : default;

        public void Set(string key, TValue value)
        {
            // The set keeps the old element when an equal one is added, and equality looks at the key alone.
            items.Remove(new(key, default!));
            items.Add(new(key, value));
        }

        public void Remove(string key) => items.Remove(new(key, default!));

        public OrderedMap<TValue> ToMap() => new(items.ToImmutable());
    }

    private sealed class KeyOrder : IComparer<KeyValuePair<string, TValue>>
    {
        public static KeyOrder Instance { get; } = new();

        public int Compare(KeyValuePair<string, TValue> x, KeyValuePair<string, TValue> y) => string.CompareOrdinal(x.Key, y.Key);
    }
}
