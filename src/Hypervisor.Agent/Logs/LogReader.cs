using System.Runtime.CompilerServices;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Logs;

/// <summary>Reads one instance's log from a point on, across its files, each line exactly once.</summary>
internal sealed class LogReader(InstanceLog log, StreamLogsRequest options, long position)
{
    private readonly DateTime _since = options.Since?.ToDateTime() ?? DateTime.MinValue;
    private readonly byte[] _buffer = new byte[2 * LogFormat.LongestLine];
    private long _first = -1;
    private long _next;
    private long _skip;
    private long _offset;
    private long _lost;

    /// <summary>Lines to pass over, of those that match: where a tail begins.</summary>
    private long _skipMatching;

    /// <summary>Until the end, or, following, until the instance is removed.</summary>
    public async IAsyncEnumerable<AgentLogsResponse> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // What was written before the question belongs to the answer.
        while (log.Ingest())
        {
            cancellationToken.ThrowIfCancellationRequested();
        }

        Begin();
        SafeFileHandle? file = null;
        var (drained, told) = (false, false);
        try
        {
            while (true)
            {
                var changed = log.Changed.Next;
                var removed = log.Removed;
                file ??= Open();
                var answer = new StreamLogsResponse { LostLines = _lost };
                _lost = 0;
                var more = file is not null && Fill(file, answer);
                if (answer.Lines.Count > 0 || answer.LostLines > 0 || !told)
                {
                    // The first one also without lines: from then on the position counts, and no longer where to begin.
                    told = true;
                    yield return new AgentLogsResponse { Lines = answer, Position = _next };
                }

                if (more)
                {
                    continue;
                }

                if (Successor() is { } successor)
                {
                    // Its last lines may have come between the two looks; now that it has a successor there will be no more.
                    drained = !drained && file is not null;
                    if (!drained)
                    {
                        file?.Dispose();
                        _lost = successor - _next;
                        (file, _first, _next, _offset) = (null, successor, successor, 0);
                    }
                }
                else if (!options.Follow || removed)
                {
                    yield break;
                }
                else
                {
                    await changed.WaitAsync(cancellationToken);
                }
            }
        }
        finally
        {
            file?.Dispose();
        }
    }

    private void Begin()
    {
        var files = log.Folder.List();
        _first = files.FirstOrDefault(-1);
        if (position > 0)
        {
            var at = files.LastOrDefault(first => first <= position, -1);
            (_first, _next, _skip, _lost) = at >= 0
                ? (at, at, position - at, 0L)
                : (_first, Math.Max(_first, position), 0L, Math.Max(0, _first - position));
            return;
        }

        if (options.HasTail)
        {
            var wanted = options.Tail;
            foreach (var first in files.Reverse())
            {
                var matching = CountMatching(first);
                _first = first;
                if (matching >= wanted)
                {
                    _skipMatching = matching - wanted;
                    break;
                }

                wanted -= matching;
            }
        }

        _next = Math.Max(0, _first);
    }

    private long CountMatching(long first)
    {
        using var file = Open(first);
        var (matching, offset) = (0L, 0L);
        while (file is not null)
        {
            var read = RandomAccess.Read(file, _buffer, offset);
            var bytes = _buffer.AsSpan(0, read);
            var end = bytes.LastIndexOf((byte)'\n') + 1;
            if (end == 0)
            {
                break;
            }

            foreach (var range in bytes[..(end - 1)].Split((byte)'\n'))
            {
                if (LogFormat.TryRead(bytes[range], out var at, out var stream, out var lineEnd, out _))
                {
                    matching += lineEnd != LineEnd.Partial && Matches(at, stream) ? 1 : 0;
                }
            }

            offset += end;
        }

        return matching;
    }

    private bool Matches(DateTime at, LogStream stream) =>
        at >= _since && (options.Stream == LogStream.Unspecified || options.Stream == stream);

    private SafeFileHandle? Open() => _first < 0 ? null : Open(_first);

    private SafeFileHandle? Open(long first)
    {
        try
        {
            return File.OpenHandle(log.Folder.PathOf(first), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception gone) when (gone is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>The file that goes on where this one ended; the oldest when that one is gone already.</summary>
    private long? Successor()
    {
        var later = log.Folder.List().FirstOrDefault(first => first > _first && first >= _next, -1);
        return later < 0 ? null : later;
    }

    /// <returns>Whether the file may hold more.</returns>
    private bool Fill(SafeFileHandle file, StreamLogsResponse answer)
    {
        var bytes = 0;
        while (bytes < StreamLimits.LogMessageBytes && answer.Lines.Count < StreamLimits.LogMessageLines)
        {
            var read = RandomAccess.Read(file, _buffer, _offset);
            var window = _buffer.AsSpan(0, read);
            var taken = 0;
            for (int length; answer.Lines.Count < StreamLimits.LogMessageLines && (length = window[taken..].IndexOf((byte)'\n')) >= 0;)
            {
                var line = window.Slice(taken, length);
                taken += length + 1;
                if (!LogFormat.TryRead(line, out var at, out var stream, out var end, out var text))
                {
                    continue;
                }

                _next++;
                if (_skip > 0)
                {
                    _skip--;
                }
                else if (Matches(at, stream) && !Passed(end))
                {
                    answer.Lines.Add(new LogLine
                    {
                        At = Timestamp.FromDateTime(at),
                        Stream = stream,
                        Text = ByteString.CopyFrom(text),
                        Partial = end == LineEnd.Partial,
                    });
                    bytes += text.Length;
                }
            }

            _offset += taken;
            if (taken == 0)
            {
                return false;
            }
        }

        return true;
    }

    private bool Passed(LineEnd end)
    {
        if (_skipMatching == 0)
        {
            return false;
        }

        _skipMatching -= end == LineEnd.Partial ? 0 : 1;
        return true;
    }
}
