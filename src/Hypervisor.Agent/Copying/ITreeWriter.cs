using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Copying;

/// <summary>Takes a file or folder into an instance, in the order of <see cref="CopyToRequest"/>. What was not completed has left no name.</summary>
internal interface ITreeWriter : IAsyncDisposable
{
    long Entries { get; }

    long Bytes { get; }

    /// <exception cref="Drivers.DriverException">EntryInvalid, CopyTooLarge.</exception>
    /// <exception cref="IOException">The file system refuses.</exception>
    ValueTask AddAsync(FileEntry entry, CancellationToken cancellationToken);

    /// <summary>Some content of the file added last.</summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    ValueTask CompleteAsync(CancellationToken cancellationToken);
}
