using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Logs;

/// <summary>Follows what one run's process writes, from <see cref="StreamLimits.ScrollBackBytes"/> before the end of its files.</summary>
/// <remarks>A reader that is slower than the log loses the part that was given back meanwhile, and is told how much.</remarks>
internal sealed class RawFollower : IDisposable
{
    private readonly InstanceLog _log;
    private readonly long _run;
    private readonly SafeFileHandle?[] _files;
    private readonly long[] _offsets;
    private long _lost;

    public RawFollower(InstanceLog log, string id, long run)
    {
        (_log, _run) = (log, run);
        _files = [log.Raw.Open(id, run, LogStream.Stdout), log.Raw.Open(id, run, LogStream.Stderr)];

        // So much is never given back (InstanceLog): nobody is told of a loss who has only just come.
        _offsets = [.. _files.Select(file => file is null ? 0 : Math.Max(0, RandomAccess.GetLength(file) - StreamLimits.ScrollBackBytes))];
    }

    public long TakeLost() => Interlocked.Exchange(ref _lost, 0);

    /// <summary>0 once the run has ended.</summary>
    public async ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var index = stream == LogStream.Stderr ? 1 : 0;
        if (_files[index] is not { } file)
        {
            return 0;
        }

        while (true)
        {
            var changed = _log.Changed.Next;
            var ended = _log.CurrentRun != _run;
            var read = RandomAccess.Read(file, buffer.Span, _offsets[index]);
            var freed = _log.Freed(_run, stream);
            if (freed > _offsets[index])
            {
                // What was read may be the zeros of a hole.
                Interlocked.Add(ref _lost, freed - _offsets[index]);
                _offsets[index] = freed;
                continue;
            }

            _offsets[index] += read;
            if (read > 0 || ended)
            {
                return read;
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Until the run has ended.</summary>
    public async Task EndAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var changed = _log.Changed.Next;
            if (_log.CurrentRun != _run)
            {
                return;
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    public void Dispose()
    {
        foreach (var file in _files)
        {
            file?.Dispose();
        }
    }
}
