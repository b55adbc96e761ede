using System.Buffers;
using System.Text;
using Hypervisor.Agent.Logs;
using Hypervisor.Agent.Streams;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Logs;

/// <summary>Protects: what processes write becomes lines, whatever bytes it is, and a written line is read as it was.</summary>
public sealed class LogFormatTests
{
    private static readonly DateTime At = new(2026, 11, 24, 1, 2, 3, DateTimeKind.Utc);

    [Theory]
    [InlineData("a\nb", false, 1, LineEnd.Full)]
    [InlineData("\n", false, 0, LineEnd.Full)]
    [InlineData("prompt> ", true, 8, LineEnd.Run)]
    public void A_line_ends_with_its_break_or_with_its_run(string raw, bool final, int length, object end)
    {
        Assert.True(LogFormat.TryTake(Encoding.UTF8.GetBytes(raw), final, out var textLength, out var lineEnd));
        Assert.Equal((length, (LineEnd)end), (textLength, lineEnd));
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("", false)]
    [InlineData("not yet", false)]
    public void Nothing_is_taken_before_a_line_is_whole(string raw, bool final) =>
        Assert.False(LogFormat.TryTake(Encoding.UTF8.GetBytes(raw), final, out _, out _));

    [Theory]
    [InlineData(StreamLimits.LineBytes, LineEnd.Full)]
    [InlineData(StreamLimits.LineBytes + 1, LineEnd.Partial)]
    public void A_line_that_is_too_long_comes_in_parts(int length, object end)
    {
        var raw = new byte[length + 1];
        raw[length] = (byte)'\n';
        Assert.True(LogFormat.TryTake(raw, final: false, out var textLength, out var lineEnd));
        Assert.Equal((StreamLimits.LineBytes, (LineEnd)end), (textLength, lineEnd));
    }

    [Theory]
    [InlineData(LogStream.Stdout, LineEnd.Full)]
    [InlineData(LogStream.Stderr, LineEnd.Partial)]
    [InlineData(LogStream.Stderr, LineEnd.Run)]
    public void A_line_is_read_as_it_was_written(LogStream stream, object end)
    {
        byte[] text = [0, 1, 0xFF, (byte)'#', 0xC3, (byte)'\r'];
        var output = new ArrayBufferWriter<byte>();
        LogFormat.Write(output, At, stream, (LineEnd)end, text);
        var line = output.WrittenSpan[..^1];
        Assert.False(LogFormat.IsCheckpoint(line));
        Assert.True(LogFormat.TryRead(line, out var at, out var readStream, out var readEnd, out var readText));
        Assert.Equal((At, stream, (LineEnd)end), (at, readStream, readEnd));
        Assert.Equal(text, readText.ToArray());
    }

    [Fact]
    public void A_checkpoint_is_read_as_it_was_written()
    {
        var checkpoint = new Checkpoint(3, 100, 200, 42, new LogLimits(65536, 4));
        var output = new ArrayBufferWriter<byte>();
        LogFormat.Write(output, checkpoint);
        Assert.True(LogFormat.IsCheckpoint(output.WrittenSpan));
        Assert.Equal(checkpoint, LogFormat.ReadCheckpoint(output.WrittenSpan[..^1]));
    }
}
