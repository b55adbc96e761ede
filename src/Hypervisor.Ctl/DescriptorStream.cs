using System.Runtime.InteropServices;

namespace Hypervisor.Ctl;

/// <summary>
/// Writes to a file descriptor with write(2). Console's stream hides a closed pipe, which would leave a watch running for
/// nobody; FileStream writes at its own offset (pwrite), which overwrites what others append to the same redirected file.
/// </summary>
internal sealed partial class DescriptorStream(int descriptor) : Stream
{
    /// <summary>EPIPE, as the HResult of the exception: nobody reads any more.</summary>
    public const int BrokenPipe = 32;

    private const int Interrupted = 4;
    private const int TryAgain = 11;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            var written = Write(descriptor, buffer, (nuint)buffer.Length);
            if (written >= 0)
            {
                buffer = buffer[(int)written..];
                continue;
            }

            var error = Marshal.GetLastPInvokeError();
            if (error == TryAgain)
            {
                // Someone who shares the descriptor made it non-blocking: wait until it takes more.
                var poll = new PollDescriptor { Descriptor = descriptor, Events = PollDescriptor.Writable };
                _ = Poll(ref poll, 1, -1);
            }
            else if (error != Interrupted)
            {
                throw new IOException($"Output cannot be written: {Marshal.GetPInvokeErrorMessage(error)}.", error);
            }
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int descriptor, ReadOnlySpan<byte> buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, int timeoutMilliseconds);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public const short Writable = 4;
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
