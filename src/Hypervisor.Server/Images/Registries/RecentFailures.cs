using Grpc.Core;

namespace Hypervisor.Server.Images.Registries;

/// <summary>
/// What registries refused a moment ago: a thousand instances of an image that does not exist ask for it once, not a thousand
/// times.
/// </summary>
internal sealed class RecentFailures(TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (RpcException Failure, long At)> _known = new(StringComparer.Ordinal);

    public void ThrowIfRecent(string image)
    {
        lock (_lock)
        {
            if (_known.TryGetValue(image, out var entry))
            {
                if (time.GetElapsedTime(entry.At) < Limits.Registries.FailureRemembered)
                {
                    // A new one: who catches an exception may throw it on, and its stack would grow without end.
                    throw new RpcException(entry.Failure.Status, entry.Failure.Trailers);
                }

                _known.Remove(image);
            }
        }
    }

    /// <returns>The same.</returns>
    public RpcException Remember(string image, RpcException failure)
    {
        lock (_lock)
        {
            if (_known.Count >= Limits.Registries.RememberedFailures)
            {
                _known.Clear();
            }

            _known[image] = (failure, time.GetTimestamp());
        }

        return failure;
    }
}
