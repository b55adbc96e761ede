namespace Hypervisor.TestCluster.Histories;

internal enum OperationKind
{
    Create,
    Update,
    Delete,
    Get,
}

internal enum Outcome
{
    /// <summary>Carried out, or read.</summary>
    Done,

    /// <summary>There was no such object.</summary>
    Absent,

    /// <summary>There was one already.</summary>
    Present,

    /// <summary>It had another version than the caller named; nothing was changed.</summary>
    Conflict,

    /// <summary>The reply was lost: it took effect once between the call and ever after, or never.</summary>
    Unknown,
}

/// <summary>One call of a client on one key, and what came back.</summary>
/// <param name="Invoked">When it was called, on a clock that all clients share and that never shows the same twice.</param>
/// <param name="Returned">When the answer was there; of no meaning for <see cref="Outcome.Unknown"/>.</param>
internal sealed record Operation(OperationKind Kind, long Invoked, long Returned, Outcome Outcome)
{
    /// <summary>What was written, or read. No two writes of a history write the same.</summary>
    public string Value { get; init; } = "";

    /// <summary>Of the object after the write, or as read; 0 when the answer had none.</summary>
    public long Version { get; init; }

    /// <summary>The version that the object had to have; 0 for any.</summary>
    public long ExpectedVersion { get; init; }

    /// <summary>The value that the caller had read at <see cref="ExpectedVersion"/>.</summary>
    public string ExpectedValue { get; init; } = "";

    public bool IsKnown => Outcome != Outcome.Unknown;

    public override string ToString()
    {
        var condition = ExpectedVersion == 0 ? "" : $" if {ExpectedValue}@{ExpectedVersion}";
        return $"[{Invoked}-{(IsKnown ? Returned : "?")}] {Kind} {Value}{condition}: {Outcome}{(Version == 0 ? "" : $" @{Version}")}";
    }
}

/// <summary>What one key holds. An object's version may also grow by other hands, its value may not.</summary>
/// <param name="Value">Null while there is no object.</param>
/// <param name="Version">The last one that anybody was told; the present one may be higher.</param>
internal readonly record struct KeyState(string? Value, long Version)
{
    public static KeyState Empty => new(null, 0);

    /// <summary>The state after the operation; null if its outcome was not possible in this one.</summary>
    public KeyState? After(Operation operation) => operation.Outcome switch
    {
        Outcome.Unknown => AfterEffect(operation),
        Outcome.Absent => operation.Kind != OperationKind.Create && Value is null ? this : null,
        Outcome.Present => operation.Kind == OperationKind.Create && Value is not null ? this : null,

        // Other hands may have moved the version on, which nobody can tell here.
        Outcome.Conflict => operation.ExpectedVersion != 0 && Value is not null ? this : null,
        _ when operation.Kind == OperationKind.Get =>
            Value is not null && Value == operation.Value && operation.Version >= Version
                ? this with { Version = operation.Version }
                : null,
        _ when operation.Version != 0 && operation.Version <= Version => null,
        _ => AfterEffect(operation) is { } after ? after with { Version = Math.Max(Version, operation.Version) } : null,
    };

    private KeyState? AfterEffect(Operation operation) => operation.Kind switch
    {
        OperationKind.Create => Value is null ? this with { Value = operation.Value } : null,
        OperationKind.Update => IsExpected(operation) ? this with { Value = operation.Value } : null,
        OperationKind.Delete => IsExpected(operation) ? this with { Value = null } : null,
        _ => null,
    };

    private bool IsExpected(Operation operation) => Value is not null
        && (operation.ExpectedVersion == 0 || (Value == operation.ExpectedValue && Version <= operation.ExpectedVersion));

    public override string ToString() => $"{Value ?? "nothing"}@{Version}";
}
