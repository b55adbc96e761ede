using System.Text;
using CsCheck;
using Hypervisor.Server.Stores;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>What a store has to be, written as plainly as possible: a copy of everything for each revision.</summary>
internal sealed class StoreModel
{
    private readonly List<SortedDictionary<string, Item>> _revisions = [new(StringComparer.Ordinal), new(StringComparer.Ordinal)];

    public long Revision => _revisions.Count - 1;

    public long Compacted { get; set; }

    /// <summary>Compares are chosen by what they find, so that about half of them hold.</summary>
    public Compare Resolve(ComparePlan plan)
    {
        var item = _revisions[^1].GetValueOrDefault(plan.Key);
        return plan.Kind switch
        {
            0 => Compare.Absent(plan.Key),
            1 => Compare.Created(plan.Key, (item?.Created ?? 0) + plan.Miss),
            2 => Compare.Modified(plan.Key, (item?.Modified ?? 0) + plan.Miss),
            _ => Compare.ValueEquals(plan.Key, Encoding.UTF8.GetBytes((item?.Value ?? "none") + (plan.Miss == 0 ? "" : "!"))),
        };
    }

    /// <returns>Which compares held, as "+" and "-" with the nested ones in brackets.</returns>
    public string Transact(StoreTransaction transaction)
    {
        var before = _revisions[^1];
        var after = new SortedDictionary<string, Item>(before, StringComparer.Ordinal);
        var changed = false;
        var outcome = Run(transaction);
        if (changed)
        {
            _revisions.Add(after);
        }

        return outcome;

        string Run(StoreTransaction level)
        {
            var holds = true;
            foreach (var compare in level.Compares)
            {
                before.TryGetValue(compare.Key, out var item);
                holds &= compare.Target switch
                {
                    CompareTarget.CreateRevision => compare.Revision == (item?.Created ?? 0),
                    CompareTarget.ModRevision => compare.Revision == (item?.Modified ?? 0),
                    _ => item is not null && item.Value == Encoding.UTF8.GetString(compare.Value.Span),
                };
            }

            var nested = "";
            foreach (var operation in holds ? level.Then : level.Else)
            {
                switch (operation)
                {
                    case StoreOperation.Put put:
                        before.TryGetValue(put.Key, out var old);
                        after[put.Key] = new Item(
                            Encoding.UTF8.GetString(put.Value.Span), old?.Created ?? Revision + 1, Revision + 1, (old?.Version ?? 0) + 1);
                        changed = true;
                        break;
                    case StoreOperation.Delete delete:
                        changed |= after.Remove(delete.Key);
                        break;
                    case StoreOperation.Nested inner:
                        nested += Run(inner.Transaction);
                        break;
                }
            }

            return nested.Length == 0 ? (holds ? "+" : "-") : (holds ? "+" : "-") + "[" + nested + "]";
        }
    }

    public string Range(string start, string end, long revision) => string.Join(
        ' ',
        _revisions[(int)revision]
            .Where(pair => string.CompareOrdinal(pair.Key, start) >= 0 && string.CompareOrdinal(pair.Key, end) < 0)
            .Select(pair => $"{pair.Key}={pair.Value.Value}@{pair.Value.Created},{pair.Value.Modified},{pair.Value.Version}"));

    /// <summary>The differences of neighbouring copies.</summary>
    public List<string> Changes(string prefix, long from)
    {
        List<string> changes = [];
        for (var revision = Math.Max(2, from); revision <= Revision; revision++)
        {
            var (before, after) = (_revisions[(int)revision - 1], _revisions[(int)revision]);
            foreach (var key in before.Keys.Union(after.Keys).Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
            {
                if (!after.TryGetValue(key, out var item))
                {
                    changes.Add($"{revision} -{key}");
                }
                else if (item.Modified == revision)
                {
                    changes.Add($"{revision} {key}={item.Value}");
                }
            }
        }

        return changes;
    }

    private sealed record Item(string Value, long Created, long Modified, long Version);
}

/// <param name="Miss">0 to hold, 1 not to.</param>
internal sealed record ComparePlan(string Key, int Kind, int Miss);

/// <summary>A level of a transaction; keys written twice are left out when it is built.</summary>
internal sealed record TransactionPlan(ComparePlan[] Compares, OperationPlan[] Then, OperationPlan[] Else)
{
    private static readonly string[] Keys = ["a", "b", "p/1", "p/2", "p/3", "q"];

    private static readonly Gen<string> Key = Gen.Int[0, Keys.Length - 1].Select(index => Keys[index]);

    private static readonly Gen<ComparePlan> CompareGen =
        Gen.Select(Key, Gen.Int[0, 3], Gen.Int[0, 3]).Select((key, kind, miss) => new ComparePlan(key, kind, miss == 0 ? 1 : 0));

    private static readonly Gen<OperationPlan> LeafGen =
        Gen.Select(Key, Gen.Int[0, 99], Gen.Bool).Select((key, value, delete) => new OperationPlan(key, delete ? null : $"{value}", null));

    private static readonly Gen<TransactionPlan> InnerGen = Of(LeafGen, 2);

    public static readonly Gen<TransactionPlan> Generator = Of(
        Gen.Frequency((3, LeafGen), (2, InnerGen.Select(inner => new OperationPlan("", null, inner)))), 4);

    public StoreTransaction Build(StoreModel model) => Build(model, new HashSet<string>(StringComparer.Ordinal));

    private static Gen<TransactionPlan> Of(Gen<OperationPlan> operations, int most) => Gen.Select(
        CompareGen.Array[0, 2], operations.Array[0, most], operations.Array[0, 2]).Select((compares, then, otherwise) => new TransactionPlan(compares, then, otherwise));

    private StoreTransaction Build(StoreModel model, HashSet<string> written)
    {
        var otherwise = new HashSet<string>(written, StringComparer.Ordinal);
        var transaction = new StoreTransaction(
            [.. Compares.Select(model.Resolve)], [.. Branch(Then, written)], [.. Branch(Else, otherwise)]);
        written.UnionWith(otherwise);
        return transaction;

        IEnumerable<StoreOperation> Branch(OperationPlan[] branch, HashSet<string> taken)
        {
            foreach (var operation in branch)
            {
                if (operation.Inner is not null)
                {
                    yield return new StoreOperation.Nested(operation.Inner.Build(model, taken));
                }
                else if (taken.Add(operation.Key))
                {
                    yield return operation.Value is null
                        ? new StoreOperation.Delete(operation.Key)
                        : new StoreOperation.Put(operation.Key, Encoding.UTF8.GetBytes(operation.Value));
                }
            }
        }
    }
}

/// <param name="Value">Null: delete.</param>
internal sealed record OperationPlan(string Key, string? Value, TransactionPlan? Inner);
