using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Logs;

/// <summary>How a taken-in line ends.</summary>
internal enum LineEnd : byte
{
    /// <summary>With a line break.</summary>
    Full = (byte)'F',

    /// <summary>Nowhere: it was too long, and goes on in the next line of its stream.</summary>
    Partial = (byte)'P',

    /// <summary>With its run.</summary>
    Run = (byte)'E',
}

/// <summary>How far the shim's files were taken in, before the next line.</summary>
/// <param name="Next">Sequence number of the next line.</param>
internal readonly record struct Checkpoint(long Run, long Output, long Error, long Next, LogLimits Limits);

/// <summary>
/// The lines of a log file: <c>2026-11-24T00:00:00.0000000Z stdout F text</c>, and <c>#</c> lines that say how far the shim's files
/// were taken in. So the log is its own journal: after a crash the last checkpoint and the lengths of the lines behind it tell where
/// to go on, and no line is lost or doubled. Pure.
/// </summary>
internal static class LogFormat
{
    private const int TimeBytes = 28;
    private const int FlagAt = TimeBytes + 8;
    private const int TextAt = FlagAt + 2;

    /// <summary>Text bytes and the envelope around them.</summary>
    public const int LongestLine = StreamLimits.LineBytes + TextAt + 1;

    public static void Write(IBufferWriter<byte> output, DateTime at, LogStream stream, LineEnd end, ReadOnlySpan<byte> text)
    {
        var line = output.GetSpan(TextAt + text.Length + 1);
        at.TryFormat(line, out _, "O", CultureInfo.InvariantCulture);
        (stream == LogStream.Stderr ? " stderr "u8 : " stdout "u8).CopyTo(line[TimeBytes..]);
        line[FlagAt] = (byte)end;
        line[FlagAt + 1] = (byte)' ';
        text.CopyTo(line[TextAt..]);
        line[TextAt + text.Length] = (byte)'\n';
        output.Advance(TextAt + text.Length + 1);
    }

    public static void Write(IBufferWriter<byte> output, Checkpoint checkpoint) => output.Write(Encoding.ASCII.GetBytes(string.Create(
        CultureInfo.InvariantCulture,
        $"#1 {checkpoint.Run} {checkpoint.Output} {checkpoint.Error} {checkpoint.Next} {checkpoint.Limits.SizeBytes} {checkpoint.Limits.Files}\n")));

    public static bool IsCheckpoint(ReadOnlySpan<byte> line) => line.Length > 0 && line[0] == (byte)'#';

    /// <param name="line">Without its line break.</param>
    public static bool TryRead(ReadOnlySpan<byte> line, out DateTime at, out LogStream stream, out LineEnd end, out ReadOnlySpan<byte> text)
    {
        (at, stream, end) = (default, default, default);
        text = default;
        if (line.Length < TextAt || !Utf8Parser.TryParse(line[..TimeBytes], out DateTime time, out var used, 'O') || used != TimeBytes)
        {
            return false;
        }

        at = time.ToUniversalTime();
        stream = line[TimeBytes + 4] == (byte)'e' ? LogStream.Stderr : LogStream.Stdout;
        end = (LineEnd)line[FlagAt];
        text = line[TextAt..];
        return true;
    }

    /// <summary>Bytes of the shim's file that became this line.</summary>
    public static int RawLength(LineEnd end, int textLength) => end == LineEnd.Full ? textLength + 1 : textLength;

    public static Checkpoint? ReadCheckpoint(ReadOnlySpan<byte> line)
    {
        var parts = Encoding.ASCII.GetString(line).Split(' ');
        return parts is ["#1", var run, var output, var error, var next, var size, var files]
            && long.TryParse(run, NumberStyles.None, CultureInfo.InvariantCulture, out var r)
            && long.TryParse(output, NumberStyles.None, CultureInfo.InvariantCulture, out var o)
            && long.TryParse(error, NumberStyles.None, CultureInfo.InvariantCulture, out var e)
            && long.TryParse(next, NumberStyles.None, CultureInfo.InvariantCulture, out var n)
            && long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out var s)
            && int.TryParse(files, NumberStyles.None, CultureInfo.InvariantCulture, out var f)
            ? new Checkpoint(r, o, e, n, new LogLimits(s, f))
            : null;
    }

    /// <summary>The next line of what a process wrote.</summary>
    /// <param name="final">Nothing more will come.</param>
    /// <returns>False when it has to wait for more.</returns>
    public static bool TryTake(ReadOnlySpan<byte> raw, bool final, out int textLength, out LineEnd end)
    {
        var window = raw[..Math.Min(raw.Length, StreamLimits.LineBytes + 1)];
        var lineBreak = window.IndexOf((byte)'\n');
        if (lineBreak >= 0)
        {
            (textLength, end) = (lineBreak, LineEnd.Full);
            return true;
        }

        if (raw.Length > StreamLimits.LineBytes)
        {
            (textLength, end) = (StreamLimits.LineBytes, LineEnd.Partial);
            return true;
        }

        (textLength, end) = (raw.Length, LineEnd.Run);
        return final && raw.Length > 0;
    }
}
