using System.Globalization;
using CsCheck;
using Hypervisor.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: the map that every view is made of holds what was set and not removed, in order, and no later change shows in an earlier copy.</summary>
public sealed class OrderedMapTests
{
    [Theory]
    [InlineData(60, 10)]
    [InlineData(3_000, 4)]
    public void Every_copy_is_what_a_sorted_dictionary_was_at_that_time(int keys, int most)
    {
        Gen.Select(Gen.Int[0, keys - 1], Gen.Int[0, 2], Gen.Int[0, 99]).Array[0, most * 500].Sample(
            steps =>
            {
                var model = new SortedDictionary<string, int>(StringComparer.Ordinal);
                var builder = OrderedMap<int>.Empty.ToBuilder();
                var copies = new List<(OrderedMap<int> Map, KeyValuePair<string, int>[] Items)>();
                foreach (var (key, action, value) in steps)
                {
                    if (action == 0)
                    {
                        model.Remove(Key(key));
                        builder.Remove(Key(key));
                    }
                    else
                    {
                        model[Key(key)] = value;
                        builder.Set(Key(key), value);
                    }

                    Assert.Equal(model.GetValueOrDefault(Key(key)), builder.Find(Key(key)));
                    if (value == 0)
                    {
                        copies.Add((builder.ToMap(), [.. model]));
                        builder = action == 1 ? copies[^1].Map.ToBuilder() : builder;
                    }
                }

                copies.Add((builder.ToMap(), [.. model]));
                foreach (var (map, items) in copies)
                {
                    Assert.Equal(items, map);
                    Assert.Equal(items.Length, map.Count);
                }

                var (last, expected) = copies[^1];
                for (var start = 0; start < keys; start += keys / 20)
                {
                    var (from, to) = (Key(start), Key(start + (keys / 7)));
                    Assert.Equal(
                        expected.Where(item => string.CompareOrdinal(item.Key, from) >= 0 && string.CompareOrdinal(item.Key, to) < 0).Select(item => item.Value),
                        last.Range(from, to));
                    Assert.Equal(expected.Any(item => item.Key == from), last.ContainsKey(from));
                }
            },
            iter: 60);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    [InlineData(7919)]
    public void Thousands_come_and_go_in_any_order(int step)
    {
        const int Keys = 20_000;
        var builder = OrderedMap<int>.Empty.ToBuilder();
        foreach (var key in Order())
        {
            builder.Set(Key(key), key);
        }

        var map = builder.ToMap();
        Assert.Equal(Enumerable.Range(0, Keys), map.Values);
        Assert.Equal(Enumerable.Range(12_000, 100), map.WithPrefix("0120"));
        foreach (var key in Order())
        {
            builder.Remove(Key(key));
        }

        Assert.Empty(builder.ToMap());
        Assert.Equal(Keys, map.Count);
        Assert.Same(map, map.ToBuilder().ToMap());

        IEnumerable<int> Order() => Enumerable.Range(0, Keys).Select(index => (((long)index * step % Keys) + Keys) % Keys).Select(key => (int)key);
    }

    [Fact]
    public void A_key_that_is_set_again_stays_the_object_it_was()
    {
        var builder = OrderedMap<int>.Empty.ToBuilder();
        var key = Key(1);
        builder.Set(key, 1);
        builder.Set(Key(1), 2);

        var (kept, value) = Assert.Single(builder.ToMap());
        Assert.Same(key, kept);
        Assert.Equal(2, value);
    }

    private static string Key(int number) => number.ToString("D6", CultureInfo.InvariantCulture);
}
