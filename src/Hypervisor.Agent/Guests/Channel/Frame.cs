using System.Buffers;
using System.Buffers.Binary;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>What a frame is. See docs/decisions/0009-guest-init.md.</summary>
internal enum FrameType : byte
{
    Hello = 1,
    Part,
    Exec,
    Input,
    Resize,
    Signal,
    Credit,
    Release,
    Stats,
    Shutdown,
    Begin,
    Refresh,
    Freeze,
    Thaw,
    HelloBack = 65,
    Answer,
    Output,
    Error,
    Exit,
    CreditBack,
}

/// <summary>One message of the channel.</summary>
/// <param name="Payload">Valid until the next frame is read.</param>
internal readonly record struct Frame(FrameType Type, uint Stream, ReadOnlyMemory<byte> Payload)
{
    private const int HeaderBytes = 7;
    private const byte Border = 0x7E;
    private const byte Escape = 0x7D;
    private const byte Mask = 0x20;

    public static void Write(IBufferWriter<byte> to, FrameType type, uint stream, ReadOnlySpan<byte> payload)
    {
        if (payload.Length > ChannelLimits.PayloadBytes)
        {
            throw new ArgumentException($"a frame carries at most {ChannelLimits.PayloadBytes} bytes, not {payload.Length}", nameof(payload));
        }

        Span<byte> header = stackalloc byte[HeaderBytes];
        header[0] = (byte)type;
        BinaryPrimitives.WriteUInt32LittleEndian(header[1..], stream);
        BinaryPrimitives.WriteUInt16LittleEndian(header[5..], (ushort)payload.Length);
        var span = to.GetSpan((2 * (HeaderBytes + payload.Length)) + 2);
        span[0] = Border;
        var length = Stuff(payload, span, Stuff(header, span, 1));
        span[length++] = Border;
        to.Advance(length);
    }

    private static int Stuff(ReadOnlySpan<byte> bytes, Span<byte> to, int at)
    {
        foreach (var value in bytes)
        {
            if (value is Border or Escape)
            {
                to[at++] = Escape;
                to[at++] = (byte)(value ^ Mask);
            }
            else
            {
                to[at++] = value;
            }
        }

        return at;
    }

    /// <summary>Finds frames in a byte stream that may begin anywhere; what is none is passed over.</summary>
    internal sealed class Reader
    {
        private readonly byte[] _body = new byte[HeaderBytes + ChannelLimits.PayloadBytes];
        private int _length;
        private bool _escaped;
        private bool _broken;

        /// <summary>Takes bytes off the input until a frame is complete.</summary>
        /// <returns>Null when all of the input was taken.</returns>
        public Frame? Next(ref ReadOnlySpan<byte> input)
        {
            for (var at = 0; at < input.Length; at++)
            {
                var value = input[at];
                if (value == Border)
                {
                    if (Finish() is { } frame)
                    {
                        input = input[(at + 1)..];
                        return frame;
                    }
                }
                else if (value == Escape)
                {
                    _broken |= _escaped;
                    _escaped = true;
                }
                else if (_length == _body.Length)
                {
                    _broken = true;
                }
                else
                {
                    _body[_length++] = _escaped ? (byte)(value ^ Mask) : value;
                    _escaped = false;
                }
            }

            input = [];
            return null;
        }

        private Frame? Finish()
        {
            var (length, whole) = (_length, !_broken && !_escaped && _length >= HeaderBytes);
            (_length, _broken, _escaped) = (0, false, false);
            return whole && length == HeaderBytes + BinaryPrimitives.ReadUInt16LittleEndian(_body.AsSpan(5))
                ? new Frame((FrameType)_body[0], BinaryPrimitives.ReadUInt32LittleEndian(_body.AsSpan(1)), _body.AsMemory(HeaderBytes, length - HeaderBytes))
                : null;
        }
    }
}
