namespace Hypervisor.Server.Stores;

/// <summary>Which branches of a transaction run, found before anything is changed.</summary>
internal sealed class Evaluation
{
    private readonly bool _succeeded;
    private readonly List<Evaluation>? _nested;

    private Evaluation(StoreTransaction transaction, Func<string, KeyValue?> current, List<StoreOperation> effects)
    {
        _succeeded = transaction.Compares.All(compare => Holds(compare, current(compare.Key)));
        foreach (var operation in _succeeded ? transaction.Then : transaction.Else)
        {
            if (operation is StoreOperation.Nested nested)
            {
                (_nested ??= []).Add(new Evaluation(nested.Transaction, current, effects));
            }
            else
            {
                effects.Add(operation);
            }
        }
    }

    /// <summary>Evaluates all compares against the current state; <paramref name="effects"/> gets the puts and deletes to apply, in order.</summary>
    /// <param name="current">The key's value before the transaction; null when absent.</param>
    public static Evaluation Of(StoreTransaction transaction, Func<string, KeyValue?> current, List<StoreOperation> effects) =>
        new(transaction, current, effects);

    /// <param name="revision">The store's revision after the transaction.</param>
    public TransactionResult ToResult(long revision) =>
        new(_succeeded, revision, _nested is null ? [] : _nested.ConvertAll(nested => nested.ToResult(revision)));

    private static bool Holds(Compare compare, KeyValue? current) => compare.Target switch
    {
        CompareTarget.CreateRevision => (current?.CreateRevision ?? 0) == compare.Revision,
        CompareTarget.ModRevision => (current?.ModRevision ?? 0) == compare.Revision,
        CompareTarget.Value => current is { } existing && existing.Value.Span.SequenceEqual(compare.Value.Span),
        _ => throw new ArgumentException($"Unknown compare target {compare.Target}."),
    };
}
