namespace Hypervisor.Agent.Drivers;

/// <summary>One holder at a time per key; keys exist while someone holds or waits.</summary>
internal sealed class KeyedLock
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);

    public async Task<Holder> EnterAsync(string key, CancellationToken cancellationToken)
    {
        Entry entry;
        lock (_lock)
        {
            if (!_entries.TryGetValue(key, out entry!))
            {
                _entries.Add(key, entry = new Entry());
            }

            entry.Users++;
        }

        try
        {
            await entry.Gate.WaitAsync(cancellationToken);
            return new Holder(this, key, entry);
        }
        catch
        {
            Leave(key, entry);
            throw;
        }
    }

    /// <summary>Null when someone else holds it.</summary>
    public Holder? TryEnter(string key)
    {
        lock (_lock)
        {
            if (_entries.ContainsKey(key))
            {
                return null;
            }

            var entry = new Entry { Users = 1 };
            entry.Gate.Wait(0);
            _entries.Add(key, entry);
            return new Holder(this, key, entry);
        }
    }

    private void Leave(string key, Entry entry)
    {
        lock (_lock)
        {
            if (--entry.Users == 0)
            {
                _entries.Remove(key);
            }
        }
    }

    internal sealed class Entry
    {
        public int Users { get; set; }

        public SemaphoreSlim Gate { get; } = new(1, 1);
    }

    internal sealed class Holder(KeyedLock owner, string key, Entry entry) : IDisposable
    {
        public void Dispose()
        {
            entry.Gate.Release();
            owner.Leave(key, entry);
        }
    }
}
