using Hypervisor.Server.State;

namespace Hypervisor.Server.Images.Blobs;

/// <summary>
/// Leases on blobs whose record may or may not have been committed: the store did not say. They end once the view has for
/// some time been what the store holds, and so shows the record if there is one.
/// </summary>
/// <remarks>While the store is away they stay: disk that is held too long costs less than an image without its layers.</remarks>
internal sealed class UncertainLeases(ClusterState state, TimeProvider time) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<BlobLease, ITimer> _held = [];
    private bool _closed;

    /// <summary>Takes the lease over.</summary>
    public void Keep(BlobLease lease)
    {
        lock (_gate)
        {
            if (!_closed)
            {
                _held.Add(lease, time.CreateTimer(Look, lease, Limits.Images.UncertainLease, Limits.Images.UncertainLease));
                return;
            }
        }

        lease.Dispose();
    }

    public void Dispose()
    {
        List<KeyValuePair<BlobLease, ITimer>> held;
        lock (_gate)
        {
            _closed = true;
            held = [.. _held];
            _held.Clear();
        }

        foreach (var (lease, timer) in held)
        {
            timer.Dispose();
            lease.Dispose();
        }
    }

    private void Look(object? kept)
    {
        if (state.Age >= Limits.Images.UncertainLease)
        {
            return;
        }

        var lease = (BlobLease)kept!;
        ITimer? timer;
        lock (_gate)
        {
            if (!_held.Remove(lease, out timer))
            {
                return;
            }
        }

        timer.Dispose();
        lease.Dispose();
    }
}
