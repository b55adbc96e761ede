using System.Buffers;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Logs;

/// <summary>
/// The log of one instance: takes in what its shim wrote, stamps time and stream, and keeps it in files of bounded size and number.
/// </summary>
/// <remarks>
/// Holds no file open between two turns. A turn that fails half-way forgets what it knows and reads it again from the files.
/// </remarks>
internal sealed class InstanceLog(string uid, RawFiles raw, LogFolder folder, LogLimits limits, TimeProvider time, Action<long> skipped)
{
    private static readonly LogStream[] Streams = [LogStream.Stdout, LogStream.Stderr];

    private readonly Lock _gate = new();
    private readonly SortedSet<long> _runs = [];
    private readonly long[] _taken = [0, 0];
    private readonly long[] _freed = [0, 0];
    private LogLimits _limits = limits;
    private bool _loaded;
    private bool _ended;
    private long _run;
    private long _next;
    private long _first = -1;
    private long _length;
    private long _sinceCheckpoint;

    public string Uid => uid;

    public LogFolder Folder => folder;

    public RawFiles Raw => raw;

    /// <summary>Set whenever there may be something new, and at the end.</summary>
    public Broadcast Changed { get; } = new();

    /// <summary>Nothing will ever come again.</summary>
    public bool Removed { get; private set; }

    /// <summary>The run whose process writes or will write; null when the last one has ended.</summary>
    public long? CurrentRun
    {
        get
        {
            lock (_gate)
            {
                return _ended || _runs.Count == 0 ? null : _runs.Max;
            }
        }
    }

    /// <summary>A run that was found at start.</summary>
    public void Found(long run)
    {
        lock (_gate)
        {
            _runs.Add(run);
        }
    }

    /// <summary>Makes the files for a process that is about to be started.</summary>
    public long BeginRun(LogLimits limits)
    {
        lock (_gate)
        {
            Load();
            NoteLimits(limits);
            var run = Math.Max(_run, _runs.Count > 0 ? _runs.Max : 0) + 1;
            raw.Create(uid, run);
            _runs.Add(run);
            _ended = false;
            return run;
        }
    }

    /// <summary>The run did not come about: an earlier attempt made the task already, with its own files.</summary>
    public void CancelRun(long run)
    {
        lock (_gate)
        {
            if (_runs.Count > 1 && _runs.Remove(run))
            {
                raw.Delete(uid, run);
            }
        }
    }

    /// <summary>The process has ended and its shim has written all of its output.</summary>
    public void EndRun()
    {
        lock (_gate)
        {
            _ended = true;
        }
    }

    public void Remove()
    {
        lock (_gate)
        {
            Removed = true;
            foreach (var run in _runs)
            {
                raw.Delete(uid, run);
            }

            _runs.Clear();
            folder.Remove();
        }

        Changed.Set();
    }

    /// <summary>So much of a run's file is given back: who reads the file itself must not read before it.</summary>
    public long Freed(long run, LogStream stream)
    {
        lock (_gate)
        {
            return run == _run ? _freed[IndexOf(stream)] : 0;
        }
    }

    /// <summary>Takes in what there is, up to a turn's worth.</summary>
    /// <returns>Whether there may be more.</returns>
    /// <exception cref="IOException">The disk refuses; nothing is lost, and the next turn begins anew.</exception>
    public bool Ingest()
    {
        var more = false;
        lock (_gate)
        {
            if (Removed || _runs.Count == 0)
            {
                return false;
            }

            try
            {
                Load();
                more = Turn();
            }
            catch
            {
                _loaded = false;
                throw;
            }
        }

        Changed.Set();
        return more;
    }

    private static int IndexOf(LogStream stream) => stream == LogStream.Stderr ? 1 : 0;

    /// <summary>
    /// Before there is any line: an agent that is killed and comes back must not judge the first backlog by limits that are not the instance's.
    /// </summary>
    private void NoteLimits(LogLimits limits)
    {
        if (limits == _limits)
        {
            return;
        }

        _limits = limits;
        try
        {
            if (_first < 0)
            {
                Rotate();
            }

            var checkpoint = new ArrayBufferWriter<byte>();
            WriteCheckpoint(checkpoint);
            Flush(checkpoint);
        }
        catch
        {
            _loaded = false;
            throw;
        }
    }

    private bool Turn()
    {
        for (var bytes = 0L; bytes < StreamLimits.IngestTurnBytes;)
        {
            var run = _runs.Min;
            if (run != _run)
            {
                // A checkpoint without lines: the next one begins at zero.
                (_run, _taken[0], _taken[1], _freed[0], _freed[1]) = (run, 0, 0, 0, 0);
                _sinceCheckpoint = StreamLimits.CheckpointBytes;
            }

            var final = _runs.Count > 1 || _ended;
            var taken = Streams.Sum(stream => Take(stream, final));
            bytes += taken;
            if (taken > 0)
            {
                continue;
            }

            if (!final)
            {
                return false;
            }

            raw.Delete(uid, run);
            _runs.Remove(run);
            if (_runs.Count == 0)
            {
                return false;
            }
        }

        return true;
    }

    private long Take(LogStream stream, bool final)
    {
        var index = IndexOf(stream);
        using var file = raw.Open(uid, _run, stream);
        if (file is null)
        {
            return 0;
        }

        var backlog = RandomAccess.GetLength(file) - _taken[index];
        if (backlog > _limits.Backlog)
        {
            var surplus = backlog - _limits.Backlog;
            _taken[index] += surplus;
            _sinceCheckpoint = StreamLimits.CheckpointBytes;
            skipped(surplus);
        }

        var buffer = ArrayPool<byte>.Shared.Rent(StreamLimits.ChunkBytes);
        try
        {
            var read = RandomAccess.Read(file, buffer.AsSpan(0, StreamLimits.ChunkBytes), _taken[index]);
            var consumed = Append(stream, buffer.AsSpan(0, read), final && read < StreamLimits.ChunkBytes);
            var useless = _taken[index] - StreamLimits.ScrollBackBytes;
            if (useless - _freed[index] >= StreamLimits.FreeBytes)
            {
                using var log = OpenLog();
                RawFiles.Sync(log);
                _freed[index] = RawFiles.Free(file, _freed[index], useless);
            }

            return consumed;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private int Append(LogStream stream, ReadOnlySpan<byte> output, bool final)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var batch = new ArrayBufferWriter<byte>(StreamLimits.ChunkBytes);
        var consumed = 0;
        while (LogFormat.TryTake(output[consumed..], final, out var textLength, out var end))
        {
            var planned = _length + batch.WrittenCount;
            if (_first < 0 || planned >= _limits.SizeBytes)
            {
                Flush(batch);
                Rotate();
            }

            if (_sinceCheckpoint >= StreamLimits.CheckpointBytes)
            {
                WriteCheckpoint(batch);
            }

            var before = batch.WrittenCount;
            LogFormat.Write(batch, now, stream, end, output.Slice(consumed, textLength));
            _sinceCheckpoint += batch.WrittenCount - before;
            var rawLength = LogFormat.RawLength(end, textLength);
            consumed += rawLength;
            _taken[IndexOf(stream)] += rawLength;
            _next++;
        }

        Flush(batch);
        return consumed;
    }

    private void WriteCheckpoint(ArrayBufferWriter<byte> batch)
    {
        LogFormat.Write(batch, new Checkpoint(_run, _taken[0], _taken[1], _next, _limits));
        _sinceCheckpoint = 0;
    }

    private void Flush(ArrayBufferWriter<byte> batch)
    {
        if (batch.WrittenCount > 0)
        {
            using var log = OpenLog();
            RandomAccess.Write(log, batch.WrittenSpan, _length);
            _length += batch.WrittenCount;
            batch.ResetWrittenCount();
        }
    }

    private void Rotate()
    {
        folder.Create();
        folder.Trim(_limits.Files - 1);
        (_first, _length, _sinceCheckpoint) = (_next, 0, StreamLimits.CheckpointBytes);
    }

    private SafeFileHandle OpenLog() => File.OpenHandle(
        folder.PathOf(_first), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);

    /// <summary>Finds out where to go on; cuts off a line that was being written when the agent was killed.</summary>
    private void Load()
    {
        if (_loaded)
        {
            return;
        }

        (_run, _next, _first, _length, _sinceCheckpoint) = (0, 0, -1, 0, StreamLimits.CheckpointBytes);
        (_taken[0], _taken[1], _freed[0], _freed[1]) = (0, 0, 0, 0);
        foreach (var first in folder.List().Reverse())
        {
            if (LogRecovery.Read(folder.PathOf(first)) is not { } found)
            {
                // Begun and not written to.
                File.Delete(folder.PathOf(first));
                continue;
            }

            (_first, _length, _sinceCheckpoint) = (first, found.Length, found.SinceCheckpoint);
            (_run, _taken[0], _taken[1], _next, _) = found.State;
            _limits = found.State.Limits;
            break;
        }

        _loaded = true;
    }
}
