using System.Runtime.ExceptionServices;
using Hypervisor.Agent.Drivers.Containerd;

namespace Hypervisor.Agent.Images;

/// <summary>
/// An image's layers into snapshots: several are fetched at once, the lowest first; each is applied when it and those below it are
/// there. Meanwhile processors that containerd leaves idle decompress what it will come to after the next one.
/// </summary>
internal sealed class LayerPipeline(
    BlobFetcher fetcher, PlainLayers plainLayers, LayerUnpacker unpacker, ImageDescription image, ImageOrigin origin, string lease)
{
    // containerd keeps one processor busy. A machine with one alone would only do more work than it has to.
    private static readonly int _decompressions = Math.Clamp(Environment.ProcessorCount - 1, 0, ContainerdLimits.ParallelFetches);

    private readonly UnpackAllowance _allowance = new(origin.MaxUnpackedBytes);
    private readonly Lock _lock = new();
    private readonly SortedSet<int> _candidates = [];
    private readonly Dictionary<int, Task<PlainLayer?>> _plain = [];
    private readonly List<Task> _removals = [];
    private int _decompressing;
    private int _unpacking;
    private Exception? _first;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(ContainerdLimits.ParallelFetches);

        // The same layer twice is fetched once, and decompressed for its first place.
        var fetches = image.Manifest.Layers!.Index().DistinctBy(layer => layer.Item.Digest)
            .ToDictionary(layer => layer.Item.Digest, layer => GuardedAsync(() => FetchAsync(layer.Index, slots, failed.Token), failed));
        await Task.WhenAll(fetches.Values.Append(GuardedAsync(() => UnpackAsync(fetches, failed.Token), failed)));
        await CleanAsync();
        if (_first is not null)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ExceptionDispatchInfo.Throw(_first);
        }
    }

    private async Task FetchAsync(int index, SemaphoreSlim slots, CancellationToken cancellationToken)
    {
        var layer = image.Manifest.Layers![index];
        await slots.WaitAsync(cancellationToken);
        try
        {
            await fetcher.FetchAsync(new WantedBlob(layer.Digest, layer.Size, origin), lease, cancellationToken);
        }
        finally
        {
            slots.Release();
        }

        if (PlainLayers.Suits(layer))
        {
            lock (_lock)
            {
                _candidates.Add(index);
            }

            DecompressAhead(cancellationToken);
        }
    }

    private async Task UnpackAsync(Dictionary<string, Task> fetches, CancellationToken cancellationToken)
    {
        for (var index = 0; index < image.Chain.Count; index++)
        {
            await fetches[image.Manifest.Layers![index].Digest];
            cancellationToken.ThrowIfCancellationRequested();
            Task<PlainLayer?>? decompressing;
            lock (_lock)
            {
                _unpacking = index;
                _candidates.Remove(index);
                _plain.Remove(index, out decompressing);
            }

            DecompressAhead(cancellationToken);
            var plain = decompressing is null ? null : await decompressing;
            try
            {
                await unpacker.UnpackAsync(image, index, plain?.Descriptor, _allowance, lease, cancellationToken);
            }
            finally
            {
                if (plain is not null)
                {
                    // While the next one is applied.
                    _removals.Add(plain.DisposeAsync().AsTask());
                }
            }
        }
    }

    /// <summary>
    /// The next layer is not decompressed: containerd would wait for it as long as it would need itself. Nor are those far ahead,
    /// which would lie twice on the disk for longer than they have to.
    /// </summary>
    private void DecompressAhead(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            while (!cancellationToken.IsCancellationRequested
                && _decompressing < _decompressions
                && _candidates.GetViewBetween(_unpacking + 2, _unpacking + ContainerdLimits.LayersAhead) is { Count: > 0 } ahead)
            {
                var index = ahead.Min;
                _candidates.Remove(index);
                _decompressing++;
                _plain.Add(index, DecompressAsync(index, cancellationToken));
            }
        }
    }

    private async Task<PlainLayer?> DecompressAsync(int index, CancellationToken cancellationToken)
    {
        try
        {
            return await unpacker.IsUnpackedAsync(image, index, lease, cancellationToken)
                ? null
                : await plainLayers.MakeAsync(image.Manifest.Layers![index], image.Configuration.Rootfs!.DiffIds![index], _allowance, cancellationToken);
        }
        finally
        {
            lock (_lock)
            {
                _decompressing--;
            }

            DecompressAhead(cancellationToken);
        }
    }

    /// <summary>What was decompressed and not come to, after a failure, goes as well.</summary>
    private async Task CleanAsync()
    {
        foreach (var left in _plain.Values)
        {
            await ((Task)left).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            if (left is { IsCompletedSuccessfully: true, Result: { } plain })
            {
                await plain.DisposeAsync();
            }
        }

        await Task.WhenAll(_removals);
    }

    // The first failure is the reason; those it causes are not.
    private async Task GuardedAsync(Func<Task> work, CancellationTokenSource failed)
    {
        try
        {
            await work();
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _first, exception, null);
            failed.Cancel();
        }
    }
}
