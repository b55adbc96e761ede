using System.Collections.Concurrent;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>
/// What qemu-img made of an overlay that nothing was written to, for the next one of the same size over the same file: starting it takes ten
/// milliseconds, and its result is always the same.
/// </summary>
internal sealed class EmptyOverlays(QemuImg qemuImg)
{
    private readonly ConcurrentDictionary<(BackingFile Backing, long Size), byte[]> _known = new();

    /// <summary>An overlay of qcow2 at a path where nothing is. Not yet synced.</summary>
    public async Task CreateAsync(string path, long size, BackingFile backing, CancellationToken cancellationToken)
    {
        if (_known.TryGetValue((backing, size), out var content))
        {
            Write(path, content);
            return;
        }

        await qemuImg.CreateAsync(path, DiskFormat.Qcow2, size, backing, cancellationToken);
        if (new FileInfo(path).Length > DiskLimits.EmptyOverlayBytes)
        {
            return;
        }

        if (_known.Count >= DiskLimits.EmptyOverlays)
        {
            _known.Clear();
        }

        _known[(backing, size)] = await File.ReadAllBytesAsync(path, cancellationToken);
    }

    /// <summary>Most of it is zeros, which take no room.</summary>
    private static void Write(string path, byte[] content)
    {
        DiskFiles.Create(path, content.Length);
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write);
        for (var begin = 0; begin < content.Length; begin += DiskLimits.BlockBytes)
        {
            var block = content.AsSpan(begin, Math.Min(DiskLimits.BlockBytes, content.Length - begin));
            if (block.ContainsAnyExcept((byte)0))
            {
                RandomAccess.Write(file, block, begin);
            }
        }
    }
}
