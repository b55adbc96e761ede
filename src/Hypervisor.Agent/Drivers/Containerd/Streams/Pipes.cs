using System.IO.Pipes;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Containerd.Streams;

/// <summary>
/// The agent's ends of the named pipes between it and a shim. All are non-blocking, and read and written through the runtime's epoll
/// loop: no thread waits in one.
/// </summary>
internal static class Pipes
{
    /// <summary>Reads end-of-file while nobody has it open for writing: see <see cref="Hold"/>.</summary>
    public static PipeStream OpenForReading(string path) =>
        new AnonymousPipeClientStream(PipeDirection.In, Open(path, NativeMethods.ORdOnly));

    /// <summary>Until this is disposed of, the reader waits instead of reading the end. There must be a reader already.</summary>
    public static IDisposable Hold(string path) => Open(path, NativeMethods.OWrOnly);

    /// <summary>Open in both directions, so that it opens before there is a reader, and survives one.</summary>
    public static PipeStream OpenForWriting(string path) =>
        new AnonymousPipeClientStream(PipeDirection.Out, Open(path, NativeMethods.ORdWr));

    private static SafePipeHandle Open(string path, int access)
    {
        var descriptor = NativeMethods.Open(path, access | NativeMethods.ONonBlock | NativeMethods.OCloExec);
        return descriptor >= 0
            ? new SafePipeHandle(descriptor, ownsHandle: true)
            : throw new IOException($"open {path}: {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());
    }
}
