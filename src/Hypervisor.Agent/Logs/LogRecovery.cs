using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Logs;

/// <param name="State">After the last whole line.</param>
/// <param name="Length">Of the file, up to there.</param>
internal readonly record struct RecoveredLog(Checkpoint State, long Length, long SinceCheckpoint);

/// <summary>Reads the end of a log file to know how far it had come.</summary>
internal static class LogRecovery
{
    /// <summary>More than lies between two checkpoints, with the longest lines around them.</summary>
    private const int Window = StreamLimits.CheckpointBytes + (4 * LogFormat.LongestLine);

    /// <summary>Null when the file holds no checkpoint: then it holds no line either. Cuts off what is no whole line.</summary>
    public static RecoveredLog? Read(string path)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        var length = RandomAccess.GetLength(file);
        var start = Math.Max(0, length - Window);
        var bytes = new byte[(int)(length - start)];
        var read = RandomAccess.Read(file, bytes, start);
        var end = bytes.AsSpan(0, read).LastIndexOf((byte)'\n') + 1;
        if (start + end < length)
        {
            RandomAccess.SetLength(file, start + end);
        }

        return Scan(bytes.AsSpan(0, end), atStart: start == 0) is { } found
            ? new RecoveredLog(found.State, start + end, end - found.CheckpointEnd)
            : null;
    }

    private static (Checkpoint State, int CheckpointEnd)? Scan(ReadOnlySpan<byte> lines, bool atStart)
    {
        (Checkpoint State, int CheckpointEnd)? found = null;
        // What the window begins with may be the rest of a line.
        for (var offset = atStart ? 0 : lines.IndexOf((byte)'\n') + 1; offset < lines.Length;)
        {
            var line = lines[offset..];
            line = line[..line.IndexOf((byte)'\n')];
            offset += line.Length + 1;
            if (LogFormat.IsCheckpoint(line))
            {
                found = LogFormat.ReadCheckpoint(line) is { } checkpoint ? (checkpoint, offset) : found;
            }
            else if (found is { } before && LogFormat.TryRead(line, out _, out var stream, out var lineEnd, out var text))
            {
                var length = LogFormat.RawLength(lineEnd, text.Length);
                var state = stream == LogStream.Stderr
                    ? before.State with { Error = before.State.Error + length, Next = before.State.Next + 1 }
                    : before.State with { Output = before.State.Output + length, Next = before.State.Next + 1 };
                found = (state, before.CheckpointEnd);
            }
        }

        return found;
    }
}
