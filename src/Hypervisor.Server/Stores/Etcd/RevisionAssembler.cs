using Mvccpb;

namespace Hypervisor.Server.Stores.Etcd;

/// <summary>
/// Puts the events of a watch together into whole revisions. etcd cuts large answers into fragments wherever their size ends,
/// also in the middle of a revision; a revision is whole once a later one begins or the last fragment is there.
/// </summary>
/// <param name="after">Nothing up to this revision is wanted.</param>
internal sealed class RevisionAssembler(long after)
{
    private List<StoreChange> _open = [];
    private long _openRevision;
    private long _delivered = after;

    /// <summary>The revisions that became whole, in order.</summary>
    /// <param name="fragment">More of the same answer follows.</param>
    public IReadOnlyList<ChangeBatch> Take(IEnumerable<Event> events, bool fragment)
    {
        List<ChangeBatch> whole = [];
        foreach (var entry in events)
        {
            var revision = entry.Kv.ModRevision;
            if (revision <= _delivered)
            {
                continue;
            }

            if (revision != _openRevision)
            {
                Close(whole);
                _openRevision = revision;
            }

            _open.Add(entry.Type == Event.Types.EventType.Delete
                ? new StoreChange(new KeyValue(entry.Kv.Key.ToStringUtf8(), default, 0, revision, 0), true)
                : new StoreChange(EtcdTranslation.ToKeyValue(entry.Kv), false));
        }

        if (!fragment)
        {
            Close(whole);
        }

        return whole;
    }

    private void Close(List<ChangeBatch> whole)
    {
        if (_openRevision > _delivered)
        {
            whole.Add(new ChangeBatch(_openRevision, _open));
            _delivered = _openRevision;
            _open = [];
        }
    }
}
