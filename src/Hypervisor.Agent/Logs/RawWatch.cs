using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Logs;

/// <summary>Tells which of the shims' files were written to: one inotify(7) watch on their folder, read by one thread.</summary>
internal sealed partial class RawWatch : IDisposable
{
    private const int CloseOnExec = 0x80000;
    private const uint Modified = 0x2;
    private const uint Overflow = 0x4000;
    private const int HeaderBytes = 16;

    private readonly SafeFileHandle _inotify;
    private readonly SafeFileHandle _stop;
    private readonly Action<string?> _written;
    private readonly Thread _thread;

    /// <param name="written">Called with a file's name, or null when the kernel lost count: look at all of them.</param>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public RawWatch(string directory, Action<string?> written)
    {
        _written = written;
        _inotify = new SafeFileHandle(Checked(Init(CloseOnExec), "inotify_init1"), ownsHandle: true);
        _stop = new SafeFileHandle(Checked(Libc.EventFd(0, Libc.EventCloexecNonblock), "eventfd"), ownsHandle: true);
        Checked(AddWatch(_inotify, directory, Modified), $"inotify_add_watch {directory}");
        _thread = new Thread(Read, maxStackSize: 256 * 1024) { IsBackground = true, Name = "logs" };
        _thread.Start();
    }

    public unsafe void Dispose()
    {
        var one = 1L;
        _ = Libc.Write(_stop, &one, sizeof(long));
        _thread.Join();
        _inotify.Dispose();
        _stop.Dispose();
    }

    private static int Checked(int result, string what) =>
        result >= 0 ? result : throw new IOException($"{what}: {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());

    private unsafe void Read()
    {
        var buffer = new byte[16 * 1024];
        var entries = stackalloc PollEntry[2];
        while (true)
        {
            entries[0] = new PollEntry { Descriptor = (int)_inotify.DangerousGetHandle(), Events = Libc.PollIn };
            entries[1] = new PollEntry { Descriptor = (int)_stop.DangerousGetHandle(), Events = Libc.PollIn };
            if (Libc.Poll(entries, 2, -1) <= 0)
            {
                // Interrupted by a signal.
                continue;
            }

            if (entries[1].Returned != 0)
            {
                return;
            }

            nint read;
            fixed (byte* start = buffer)
            {
                read = Libc.Read(_inotify, start, (nuint)buffer.Length);
            }

            Report(buffer.AsSpan(0, (int)Math.Max(0, read)));
        }
    }

    private void Report(ReadOnlySpan<byte> events)
    {
        while (events.Length >= HeaderBytes)
        {
            var mask = BinaryPrimitives.ReadUInt32LittleEndian(events[4..]);
            var nameLength = (int)BinaryPrimitives.ReadUInt32LittleEndian(events[12..]);
            var name = events.Slice(HeaderBytes, nameLength);
            var end = name.IndexOf((byte)0);
            _written((mask & Overflow) != 0 ? null : System.Text.Encoding.ASCII.GetString(end < 0 ? name : name[..end]));
            events = events[(HeaderBytes + nameLength)..];
        }
    }

    [LibraryImport("libc", EntryPoint = "inotify_init1", SetLastError = true)]
    private static partial int Init(int flags);

    [LibraryImport("libc", EntryPoint = "inotify_add_watch", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int AddWatch(SafeFileHandle inotify, string path, uint mask);
}
