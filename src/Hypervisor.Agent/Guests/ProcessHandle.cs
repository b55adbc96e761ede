using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Guests;

/// <summary>A pidfd: names one process for as long as it is held, whatever becomes of its number.</summary>
internal sealed partial class ProcessHandle : IDisposable
{
    // The same on every architecture: they came after the tables of system calls were unified.
    private const nint SysPidfdSendSignal = 424;
    private const nint SysPidfdOpen = 434;
    private const int SigKill = 9;
    private const int NoProcess = 3;

    private readonly SafeFileHandle _handle;

    private ProcessHandle(SafeFileHandle handle) => _handle = handle;

    /// <summary>For poll(2): readable once the process has ended.</summary>
    public int Descriptor => (int)_handle.DangerousGetHandle();

    public unsafe bool HasEnded
    {
        get
        {
            var entry = new PollEntry { Descriptor = Descriptor, Events = Libc.PollIn };
            return Libc.Poll(&entry, 1, 0) > 0;
        }
    }

    /// <summary>Null when there is no such process.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static ProcessHandle? Open(int processId)
    {
        var descriptor = (int)SystemCall(SysPidfdOpen, processId, 0, 0, 0);
        return descriptor >= 0
            ? new ProcessHandle(new SafeFileHandle(descriptor, ownsHandle: true))
            : Marshal.GetLastPInvokeError() == NoProcess ? null : throw new IOException($"pidfd_open: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    /// <exception cref="IOException">The kernel refuses.</exception>
    public void Kill()
    {
        if (SystemCall(SysPidfdSendSignal, Descriptor, SigKill, 0, 0) < 0 && Marshal.GetLastPInvokeError() != NoProcess)
        {
            throw new IOException($"pidfd_send_signal: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    public void Dispose() => _handle.Dispose();

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(nint number, nint first, nint second, nint third, nint fourth);
}
