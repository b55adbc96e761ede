using Hypervisor.Agent.Drivers.Containerd;

namespace Hypervisor.Agent.Images;

/// <summary>What an image's layers may write to the node's disk: each by its own size, and all of them together.</summary>
/// <param name="total">Bytes of all layers, unpacked.</param>
internal sealed class UnpackAllowance(long total)
{
    private long _taken;

    /// <summary>What this layer may unpack to, by what was taken so far.</summary>
    public long Of(ImageDescriptor layer) => Math.Min(ContainerdLimits.LargestUnpacked(layer.Size), total - Volatile.Read(ref _taken));

    /// <summary>The layer was unpacked. One that was there before is taken too: the image has it all the same.</summary>
    /// <exception cref="InvalidDataException">The image has more than it may.</exception>
    public void Take(long bytes)
    {
        if (Interlocked.Add(ref _taken, bytes) > total)
        {
            throw TooMuch();
        }
    }

    /// <summary>What to say of a layer that unpacks to more than <see cref="Of"/> says.</summary>
    public InvalidDataException Excess(ImageDescriptor layer, long bytes) => bytes > ContainerdLimits.LargestUnpacked(layer.Size)
        ? new InvalidDataException($"the layer {layer.Digest} unpacks to more than {ContainerdLimits.CompressionRatio} times its size: a decompression bomb")
        : TooMuch();

    private InvalidDataException TooMuch() => new(
        $"its layers unpack to more than {total} bytes; the server's images.max_unpacked_size says how many there may be");
}
