using System.Buffers;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Rpc;

namespace Hypervisor.Server.Rest;

/// <summary>JSON exactly as protobuf defines it and as <c>hypervisor-ctl -o json</c> prints it: the library's own formatter and parser.</summary>
internal static class ProtoJson
{
    private static readonly TypeRegistry ErrorDetails = TypeRegistry.FromFiles(ErrorDetailsReflection.Descriptor);

    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithTypeRegistry(ErrorDetails));

    /// <summary>Unknown fields are errors.</summary>
    public static JsonParser Parser { get; } = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(false));

    public static string Text(IMessage message) => Formatter.Format(message);

    /// <summary>Writes UTF-8.</summary>
    public static void Write(IMessage message, IBufferWriter<byte> output)
    {
        using var writer = new Utf8Writer(output);
        Formatter.Format(message, writer);
    }

    /// <summary>Encodes as it goes: a list of thousands is never a string.</summary>
    private sealed class Utf8Writer(IBufferWriter<byte> output) : TextWriter
    {
        private const int Staged = 4096;

        private readonly char[] _staged = ArrayPool<char>.Shared.Rent(Staged);
        private readonly Encoder _encoder = System.Text.Encoding.UTF8.GetEncoder();
        private int _count;

        public override Encoding Encoding => System.Text.Encoding.UTF8;

        public override void Write(char value)
        {
            if (_count == Staged)
            {
                Drain();
            }

            _staged[_count++] = value;
        }

        public override void Write(string? value) => Write(value.AsSpan());

        public override void Write(ReadOnlySpan<char> buffer)
        {
            while (buffer.Length > 0)
            {
                if (_count == Staged)
                {
                    Drain();
                }

                var taken = Math.Min(buffer.Length, Staged - _count);
                buffer[..taken].CopyTo(_staged.AsSpan(_count));
                _count += taken;
                buffer = buffer[taken..];
            }
        }

        protected override void Dispose(bool disposing)
        {
            Drain();
            ArrayPool<char>.Shared.Return(_staged);
            base.Dispose(disposing);
        }

        // The encoder remembers half of a surrogate pair between two calls.
        private void Drain()
        {
            var chars = _staged.AsSpan(0, _count);
            _encoder.Convert(chars, output.GetSpan(3 * (Staged + 1)), flush: false, out _, out var written, out _);
            output.Advance(written);
            _count = 0;
        }
    }
}
