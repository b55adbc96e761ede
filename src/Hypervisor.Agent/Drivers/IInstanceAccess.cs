using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>The way into the instances of a driver.</summary>
/// <remarks>
/// Every call names the epoch that it means, and fails with <see cref="DriverException"/>, reason <c>EpochMismatch</c>, when another one
/// is there; with reason <c>NotRunning</c> when no process runs.
/// </remarks>
internal interface IInstanceAccess
{
    /// <summary>Starts one more process beside the main one.</summary>
    /// <exception cref="DriverException">CommandNotFound, CommandNotExecutable, UserNotFound, WorkingDirectoryInvalid and whatever the runtime says.</exception>
    Task<IInstanceProcess> ExecAsync(InstanceId id, Epoch epoch, ExecInput request, CancellationToken cancellationToken);

    /// <summary>The main process: the last of what it wrote, and what it writes from now on. Disposing it lets go of it and leaves it running.</summary>
    Task<IInstanceProcess> AttachAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>A connection to its display; disposing it ends that. Ends with the instance.</summary>
    /// <exception cref="DriverException">NoDisplay, DisplayUnavailable.</exception>
    Task<IInstanceProcess> OpenDisplayAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken) =>
        throw new DriverException("NoDisplay", "it has no display; VMs have one", permanent: true);

    /// <summary>One sample, without a share of CPU time.</summary>
    Task<InstanceStats> MeasureAsync(InstanceId id, Epoch epoch, CancellationToken cancellationToken);

    /// <summary>A file or folder of its file system as its processes see it, with everything below; each folder before what is in it.</summary>
    /// <exception cref="DriverException">PathNotFound, PathInvalid, CopyTooLarge.</exception>
    IAsyncEnumerable<CopyPart> CopyOutAsync(InstanceId id, Epoch epoch, string path, CancellationToken cancellationToken);

    /// <summary>Begins to take a file or folder into it.</summary>
    /// <exception cref="DriverException">PathNotFound, PathInvalid.</exception>
    Task<ITreeWriter> CopyInAsync(InstanceId id, Epoch epoch, CopyToHeader header, CancellationToken cancellationToken);

    /// <summary>Its log, whatever state it is in. Nothing is asked of the runtime.</summary>
    InstanceLog LogOf(InstanceId id);
}

/// <summary>A process whose streams are held. Disposing an additional process kills it.</summary>
internal interface IInstanceProcess : IAsyncDisposable
{
    /// <summary>It has something to write to.</summary>
    bool TakesInput => true;

    /// <summary>Keys go through to it as they are.</summary>
    bool IsTerminal => false;

    /// <summary>Output that the reader was too slow for, since this was last asked.</summary>
    long TakeLost() => 0;

    /// <summary>Some of what it wrote; 0 at its end. One caller at a time per stream.</summary>
    ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken);

    /// <exception cref="DriverException">NoStdin.</exception>
    ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    /// <summary>It reads end-of-file from now on; nothing when it does so already.</summary>
    Task CloseInputAsync(CancellationToken cancellationToken);

    /// <summary>Nothing without a terminal.</summary>
    Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken);

    /// <summary>Nothing when it has ended.</summary>
    Task SignalAsync(int signal, CancellationToken cancellationToken);

    /// <summary>Once it has ended.</summary>
    Task<ExitStatus> ExitAsync(CancellationToken cancellationToken);
}
