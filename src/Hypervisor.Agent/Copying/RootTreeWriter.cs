using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Copying;

/// <summary>Into a root that this machine's kernel holds. Owns the root.</summary>
internal sealed class RootTreeWriter : ITreeWriter
{
    private readonly RootDirectory _root;
    private readonly TreeWriter _writer;

    /// <exception cref="Drivers.DriverException">PathNotFound, PathInvalid.</exception>
    public RootTreeWriter(RootDirectory root, CopyToHeader header, IRandomSource random)
    {
        _root = root;
        try
        {
            _writer = new TreeWriter(root, header.Path, header.Name, random);
        }
        catch
        {
            root.Dispose();
            throw;
        }
    }

    public long Entries => _writer.Entries;

    public long Bytes => _writer.Bytes;

    public ValueTask AddAsync(FileEntry entry, CancellationToken cancellationToken)
    {
        _writer.Add(entry);
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        _writer.Write(data.Span);
        return ValueTask.CompletedTask;
    }

    public ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        _writer.Complete();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        _writer.Dispose();
        _root.Dispose();
        return ValueTask.CompletedTask;
    }
}
