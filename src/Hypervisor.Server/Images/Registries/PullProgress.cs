using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Images.Registries;

/// <summary>How far a pull is; written by it, read by all who wait for it.</summary>
internal sealed class PullProgress
{
    private readonly Lock _lock = new();
    private readonly PullImageResponse _now = new() { Status = "waiting" };

    public string Status
    {
        set
        {
            lock (_lock)
            {
                _now.Status = value;
            }
        }
    }

    public void Begin(string status, long total, long done, int layers)
    {
        lock (_lock)
        {
            (_now.Status, _now.BytesTotal, _now.BytesDone, _now.LayersTotal) = (status, total, done, layers);
        }
    }

    public void Add(long bytes)
    {
        lock (_lock)
        {
            _now.BytesDone += bytes;
        }
    }

    public void LayerDone()
    {
        lock (_lock)
        {
            _now.LayersDone++;
        }
    }

    public void Done(string status)
    {
        lock (_lock)
        {
            (_now.Status, _now.BytesDone, _now.LayersDone) = (status, _now.BytesTotal, _now.LayersTotal);
        }
    }

    public PullImageResponse Shown(Image? image)
    {
        lock (_lock)
        {
            var shown = _now.Clone();
            shown.Image = image;
            return shown;
        }
    }
}

/// <summary>The progress of each pull under way, for as long as anyone looks at it.</summary>
internal sealed class SharedProgress
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(string, string, ImagePullPolicy), (PullProgress Progress, int Lookers)> _known = [];

    public Look Join((string, string, ImagePullPolicy) key)
    {
        lock (_lock)
        {
            var entry = _known.GetValueOrDefault(key, (new PullProgress(), 0));
            _known[key] = (entry.Item1, entry.Item2 + 1);
            return new Look(this, key, entry.Item1);
        }
    }

    private void Leave((string, string, ImagePullPolicy) key)
    {
        lock (_lock)
        {
            var (progress, lookers) = _known[key];
            if (lookers == 1)
            {
                _known.Remove(key);
            }
            else
            {
                _known[key] = (progress, lookers - 1);
            }
        }
    }

    internal sealed class Look(SharedProgress owner, (string, string, ImagePullPolicy) key, PullProgress value) : IDisposable
    {
        public PullProgress Value => value;

        public void Dispose() => owner.Leave(key);
    }
}
