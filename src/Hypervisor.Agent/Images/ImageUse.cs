namespace Hypervisor.Agent.Images;

/// <summary>When each image was last asked for; what was asked for lately, or is being fetched, is not removed.</summary>
internal sealed class ImageUse(TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, DateTimeOffset> _last = new(StringComparer.Ordinal);

    public void Note(string digest)
    {
        lock (_lock)
        {
            _last[digest] = time.GetUtcNow();
        }
    }

    /// <summary>Null when it was not since the agent started.</summary>
    public DateTimeOffset? LastOf(string digest)
    {
        lock (_lock)
        {
            return _last.TryGetValue(digest, out var last) ? last : null;
        }
    }

    /// <summary>Remembers nothing of images that are gone: the table is no longer than the node has images.</summary>
    public void Keep(IReadOnlySet<string> digests, DateTimeOffset since)
    {
        lock (_lock)
        {
            foreach (var digest in _last.Where(entry => entry.Value < since && !digests.Contains(entry.Key)).Select(entry => entry.Key).ToList())
            {
                _last.Remove(digest);
            }
        }
    }
}
