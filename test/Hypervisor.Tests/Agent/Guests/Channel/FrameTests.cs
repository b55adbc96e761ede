using System.Buffers;
using Hypervisor.Agent.Guests.Channel;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Channel;

/// <summary>Protects: frames are found in a stream that begins anywhere and breaks off anywhere, and nothing else is taken for one.</summary>
public sealed class FrameTests
{
    [Fact]
    public void A_frame_of_every_byte_comes_out_as_it_went_in()
    {
        byte[] payload = [.. Enumerable.Range(0, ChannelLimits.PayloadBytes).Select(at => (byte)at)];
        var (type, stream, read) = Assert.Single(Read(Write(FrameType.Output, 0x7E7D7E7D, payload)));
        Assert.Equal((FrameType.Output, 0x7E7D7E7Du), (type, stream));
        Assert.Equal(payload, read);
    }

    [Fact]
    public void A_stream_that_comes_byte_by_byte_is_the_same()
    {
        byte[] bytes = [.. Write(FrameType.Input, 1, [0x7D, 0x7E]), .. Write(FrameType.Exit, 2, [])];
        var reader = new Frame.Reader();
        var found = bytes.SelectMany(value => Read([value], reader)).ToList();
        Assert.Equal([(FrameType.Input, 1u), (FrameType.Exit, 2u)], found.Select(frame => (frame.Type, frame.Stream)));
    }

    [Fact]
    public void Whatever_a_dead_peer_left_the_next_frame_is_found()
    {
        var left = Write(FrameType.Output, 7, [.. Enumerable.Repeat((byte)0x7E, 100)]);
        var next = Write(FrameType.HelloBack, 0, [1, 2, 3]);

        // The last byte is a border, as the first of the next one is: without it nothing is missing.
        for (var cut = 0; cut < left.Length - 1; cut++)
        {
            // The beginning without its end, and the end without its beginning.
            Assert.Equal([FrameType.HelloBack], Read([.. left[..cut], .. next]).Select(frame => frame.Type));
            Assert.Equal(FrameType.HelloBack, Read([.. left[cut..], .. next])[^1].Type);
        }
    }

    [Fact]
    public void Noise_is_no_frame_and_takes_no_more_than_a_frame_of_memory()
    {
        byte[] noise = [0x7E, 0x7D, 0x7D, 1, 2, 0x7E, 0x7E, .. new byte[3 * ChannelLimits.PayloadBytes], 0x7E];
        Assert.Empty(Read(noise));
        Assert.Single(Read([.. noise, .. Write(FrameType.Exit, 1, [])]));
    }

    [Fact]
    public void A_payload_that_is_too_large_is_refused() =>
        Assert.Throws<ArgumentException>(() => Write(FrameType.Input, 1, new byte[ChannelLimits.PayloadBytes + 1]));

    private static byte[] Write(FrameType type, uint stream, byte[] payload)
    {
        var writer = new ArrayBufferWriter<byte>();
        Frame.Write(writer, type, stream, payload);
        return writer.WrittenSpan.ToArray();
    }

    private static List<(FrameType Type, uint Stream, byte[] Payload)> Read(byte[] bytes, Frame.Reader? reader = null)
    {
        reader ??= new Frame.Reader();
        ReadOnlySpan<byte> rest = bytes;
        var found = new List<(FrameType, uint, byte[])>();
        while (reader.Next(ref rest) is { } frame)
        {
            found.Add((frame.Type, frame.Stream, frame.Payload.ToArray()));
        }

        return found;
    }
}
