using CsCheck;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

public abstract partial class StoreContract
{
    /// <summary>How many random histories are compared; opening a file costs more than a list in memory.</summary>
    private protected virtual int Histories => 200;

    [Fact(Timeout = Deadline)]
    public async Task Random_transactions_ranges_watches_and_compactions_agree_with_the_model()
    {
        var step = Gen.Select(TransactionPlan.Generator, Gen.Int[0, 19]);
        await step.Array[1, 40].SampleAsync(
            async history =>
            {
                var store = await OpenNewAsync();
                var model = new StoreModel();
                foreach (var (plan, compact) in history)
                {
                    var transaction = plan.Build(model);
                    var expected = model.Transact(transaction);
                    var result = await store.TransactAsync(transaction, Cancellation);
                    Assert.Equal((expected, model.Revision), (Outcome(result), result.Revision));
                    if (compact == 0)
                    {
                        model.Compacted = Math.Max(model.Compacted, (model.Revision + 1) / 2);
                        await store.CompactAsync((model.Revision + 1) / 2, Cancellation);
                    }
                }

                await AgreeAsync(store, model);
                await store.DisposeAsync();
            },
            iter: Histories,
            threads: 1);
    }

    private static async Task AgreeAsync(IClusterStore store, StoreModel model)
    {
        Assert.Equal(model.Revision, await store.GetRevisionAsync(Cancellation));
        for (var revision = Math.Max(1, model.Compacted); revision <= model.Revision; revision++)
        {
            foreach (var (start, end) in new[] { ("", "\ud7ff"), ("p/", "p0"), ("b", "p/2") })
            {
                var result = await store.RangeAsync(new RangeQuery(start, end, revision), Cancellation);
                Assert.Equal(
                    model.Range(start, end, revision),
                    string.Join(' ', result.Items.Select(item => $"{item.Key}={Text(item)}@{item.CreateRevision},{item.ModRevision},{item.Version}")));
            }
        }

        if (model.Revision == 1)
        {
            return;
        }

        for (var from = Math.Max(1, model.Compacted + 1); from <= model.Revision; from += 3)
        {
            foreach (var prefix in new[] { "", "p/" })
            {
                var changes = await ChangesAsync(store, prefix, from, model.Revision);

                // Within a revision the order is the store's own.
                Assert.Equal(model.Changes(prefix, from), changes.OrderBy(Revision).ThenBy(Key, StringComparer.Ordinal));
            }
        }

        static long Revision(string change) => long.Parse(change.Split(' ')[0], null);

        static string Key(string change) => change.Split(' ')[1].TrimStart('-').Split('=')[0];
    }

    private static string Outcome(TransactionResult result) =>
        (result.Succeeded ? "+" : "-") + (result.Nested.Count == 0 ? "" : "[" + string.Concat(result.Nested.Select(Outcome)) + "]");
}
