using System.Collections;

namespace Hypervisor.Server.State;

/// <summary>An immutable set of texts in ordinal order; a changed copy shares most with its original.</summary>
internal sealed class OrderedSet : IReadOnlyCollection<string>
{
    private readonly OrderedMap<Nothing> _items;

    private OrderedSet(OrderedMap<Nothing> items) => _items = items;

    public static OrderedSet Empty { get; } = new(OrderedMap<Nothing>.Empty);

    public int Count => _items.Count;

    public bool Contains(string item) => _items.ContainsKey(item);

    public OrderedSet Add(string item)
    {
        var items = _items.ToBuilder();
        items.Set(item, default);
        return new(items.ToMap());
    }

    public OrderedSet Remove(string item)
    {
        var items = _items.ToBuilder();
        items.Remove(item);
        return new(items.ToMap());
    }

    public OrderedSet Union(IEnumerable<string> others)
    {
        var items = _items.ToBuilder();
        foreach (var other in others)
        {
            items.Set(other, default);
        }

        return new(items.ToMap());
    }

    public IEnumerator<string> GetEnumerator() => _items.Keys.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private readonly record struct Nothing;
}
