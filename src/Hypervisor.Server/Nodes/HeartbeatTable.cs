using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;

namespace Hypervisor.Server.Nodes;

/// <summary>When each node was last heard from, in memory only: beats never touch the store.</summary>
/// <remarks>Times are <see cref="TimeProvider.GetTimestamp"/>: setting the wall clock fails nobody over.</remarks>
internal sealed class HeartbeatTable(TimeProvider time)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<NodeId, Beat> _beats = [];
    private readonly Signal _news = new();

    /// <summary>
    /// Waits until a node is heard from that had been silent for <see cref="NewsAfter"/> or was unknown: what waits for
    /// silence to pass needs no wake-up, what waits for life does. News that came since the last wait counts. One waiter.
    /// </summary>
    public Task WaitForNewsAsync(CancellationToken cancellationToken) => _news.WaitAsync(cancellationToken);

    /// <summary>Silence after which a beat is news.</summary>
    public required TimeSpan NewsAfter { get; init; }

    /// <param name="resourceVersion">The highest that the agent has applied.</param>
    public void Record(NodeId node, long resourceVersion)
    {
        bool news;
        lock (_gate)
        {
            var now = time.GetTimestamp();
            var known = _beats.TryGetValue(node, out var last);
            _beats[node] = new(now, Math.Max(resourceVersion, last.ResourceVersion));
            news = !known || time.GetElapsedTime(last.At, now) >= NewsAfter;
        }

        if (news)
        {
            _news.Set();
        }
    }

    public void Forget(NodeId node)
    {
        lock (_gate)
        {
            _beats.Remove(node);
        }
    }

    /// <summary>Null when the node was never heard from by this process.</summary>
    public Beat? LastOf(NodeId node)
    {
        lock (_gate)
        {
            return _beats.TryGetValue(node, out var beat) ? beat : null;
        }
    }

    /// <param name="At">A <see cref="TimeProvider"/> timestamp.</param>
    /// <param name="ResourceVersion">The highest that the agent has applied.</param>
    public readonly record struct Beat(long At, long ResourceVersion);
}
