using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>sendmsg(2) with SCM_RIGHTS (unix(7)): gives another process a file that is open here.</summary>
internal static unsafe partial class DescriptorPassing
{
    private const int SolSocket = 1;
    private const int ScmRights = 1;
    private const int NoSignal = 0x4000;

    /// <returns>How much of the data was sent; the descriptor goes with its first byte.</returns>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static int Send(Socket socket, ReadOnlySpan<byte> data, SafeFileHandle descriptor)
    {
        // struct cmsghdr: length (8), level (4), type (4), then the descriptor, padded to 8.
        var control = stackalloc byte[24];
        *(nuint*)control = 20;
        *(int*)(control + 8) = SolSocket;
        *(int*)(control + 12) = ScmRights;
        *(int*)(control + 16) = (int)descriptor.DangerousGetHandle();
        fixed (byte* bytes = data)
        {
            var vector = new Vector { Base = bytes, Length = (nuint)data.Length };
            var message = new Message { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = 24 };
            var sent = SendMessage((int)socket.Handle, &message, NoSignal);
            GC.KeepAlive(descriptor);
            return sent > 0 ? (int)sent : throw new IOException($"sendmsg: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    private static partial nint SendMessage(int socket, Message* message, int flags);

    private struct Vector
    {
        public byte* Base;
        public nuint Length;
    }

    /// <summary>struct msghdr of 64-bit Linux.</summary>
    private struct Message
    {
        public void* Name;
        public uint NameLength;
        public Vector* Vectors;
        public nuint VectorCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }
}
