using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking.Interop;

/// <summary>A system call said no.</summary>
/// <param name="code">errno, positive.</param>
internal sealed class SystemCallException(int code, string message) : IOException($"{message}: {Marshal.GetPInvokeErrorMessage(code)} (errno {code})")
{
    public int Code { get; } = code;
}

/// <summary>Error numbers of Linux that decisions depend on, and how failures become exceptions.</summary>
internal static class Errno
{
    public const int NoEntry = 2;
    public const int Interrupted = 4;
    public const int TryAgain = 11;
    public const int Exists = 17;
    public const int NoDevice = 19;
    public const int Invalid = 22;
    public const int AddressNotAvailable = 99;
    public const int NoBufferSpace = 105;
    public const int NoSuchProcess = 3;

    /// <summary>Throws when a call answered -1.</summary>
    /// <param name="what">What was attempted, as the beginning of a sentence.</param>
    public static int Check(int result, string what) => result >= 0 ? result : throw Last(what);

    public static SafeFileHandle Handle(int descriptor, string what) => new(Check(descriptor, what), ownsHandle: true);

    public static SystemCallException Last(string what) => new(Marshal.GetLastPInvokeError(), what);
}
