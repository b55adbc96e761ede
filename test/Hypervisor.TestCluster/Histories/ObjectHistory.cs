namespace Hypervisor.TestCluster.Histories;

/// <summary>What one revision did to one object.</summary>
/// <param name="Value">Null: it is gone.</param>
internal sealed record ObjectChange(string Uid, string? Value);

/// <summary>An object as clients see it.</summary>
/// <param name="Revision">Its last change.</param>
internal readonly record struct ObjectState(string Value, long Revision);

/// <summary>All that the store did to a set of objects, revision by revision: what clients saw is compared with it.</summary>
internal sealed class ObjectHistory
{
    private readonly List<(long Revision, IReadOnlyList<ObjectChange> Changes)> _revisions = [];

    public IReadOnlyList<(long Revision, IReadOnlyList<ObjectChange> Changes)> Revisions => _revisions;

    public ObjectHistory Add(long revision, params IReadOnlyList<ObjectChange> changes)
    {
        if (_revisions.Count > 0 && _revisions[^1].Revision >= revision)
        {
            throw new ArgumentException($"{revision} comes after {_revisions[^1].Revision}", nameof(revision));
        }

        _revisions.Add((revision, changes));
        return this;
    }

    /// <summary>All objects as of the revision.</summary>
    public Dictionary<string, ObjectState> At(long revision)
    {
        var objects = new Dictionary<string, ObjectState>(StringComparer.Ordinal);
        foreach (var (at, changes) in _revisions.TakeWhile(entry => entry.Revision <= revision))
        {
            foreach (var change in changes)
            {
                if (change.Value is null)
                {
                    objects.Remove(change.Uid);
                }
                else
                {
                    objects[change.Uid] = new ObjectState(change.Value, at);
                }
            }
        }

        return objects;
    }

    /// <summary>Why a list is not what the store held at the list's revision; null if it is.</summary>
    public string? ListViolation(long revision, IReadOnlyDictionary<string, ObjectState> listed)
    {
        var held = At(revision);
        var wrong = held.Keys.Union(listed.Keys).Order(StringComparer.Ordinal)
            .Where(uid => !held.TryGetValue(uid, out var one) || !listed.TryGetValue(uid, out var other) || one != other).ToList();
        return wrong.Count == 0
            ? null
            : $"at {revision} "
                + string.Join(", ", wrong.Take(5).Select(uid => $"{uid} was {Text(held, uid)} and listed as {Text(listed, uid)}"));
    }

    private static string Text(IReadOnlyDictionary<string, ObjectState> objects, string uid) =>
        objects.TryGetValue(uid, out var state) ? $"{state.Value}@{state.Revision}" : "absent";
}
