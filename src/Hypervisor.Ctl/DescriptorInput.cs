using System.Runtime.InteropServices;

namespace Hypervisor.Ctl;

/// <summary>Reads a file descriptor with read(2), byte for byte. Console's stream edits lines itself when it reads a terminal.</summary>
internal sealed partial class DescriptorInput(int descriptor) : Stream
{
    private const int Interrupted = 4;
    private const int TerminalGone = 5;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count)
    {
        while (true)
        {
            var read = Read(descriptor, buffer.AsSpan(offset, count), (nuint)count);
            if (read >= 0)
            {
                return (int)read;
            }

            var error = Marshal.GetLastPInvokeError();
            if (error == TerminalGone)
            {
                return 0;
            }

            if (error != Interrupted)
            {
                throw new IOException($"Input cannot be read: {Marshal.GetPInvokeErrorMessage(error)}.", error);
            }
        }
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int descriptor, Span<byte> buffer, nuint count);
}
