namespace Hypervisor.Server.Images;

/// <summary>
/// The last deletions by request_id, in memory: a deleted image leaves no record that could answer a repeated request. After
/// a restart of the server the repetition is answered NOT_FOUND, which says the same.
/// </summary>
internal sealed class RecentDeletions(int capacity)
{
    private readonly Lock _lock = new();
    private readonly Queue<(string Project, string RequestId, string Reference)> _order = new();
    private readonly HashSet<(string Project, string RequestId, string Reference)> _known = [];

    public void Add(string project, string requestId, string reference)
    {
        lock (_lock)
        {
            if (requestId.Length == 0 || !_known.Add((project, requestId, reference)))
            {
                return;
            }

            _order.Enqueue((project, requestId, reference));
            if (_order.Count > capacity)
            {
                _known.Remove(_order.Dequeue());
            }
        }
    }

    public bool Contains(string project, string requestId, string reference)
    {
        lock (_lock)
        {
            return _known.Contains((project, requestId, reference));
        }
    }
}
