using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Guests.Boot;

/// <summary>
/// How fast this machine's time stamp counter runs, which an emulated guest sees as its own (QEMU passes it through). Linux tells programs
/// neither the rate nor the counter, so the one instruction that reads it is run here.
/// </summary>
internal static partial class HostTimestampCounter
{
    private const int ReadWrite = 3;
    private const int ReadExecute = 5;
    private const int PrivateAnonymous = 0x22;
    private const int PageBytes = 4096;

    private static readonly Lock Gate = new();
    private static (ulong Ticks, long At)? _first;

    /// <summary>rdtsc; shl rdx, 32; or rax, rdx; ret.</summary>
    private static ReadOnlySpan<byte> Code => [0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3];

    /// <summary>Begins to measure; the longer ago, the more exact is the result.</summary>
    public static void Begin()
    {
        lock (Gate)
        {
            _first ??= Sample();
        }
    }

    /// <summary>Measures since <see cref="Begin"/>, for 100 ms at least: exact to some millionths. Null where there is no such counter.</summary>
    public static async Task<long?> MeasureKiloHertzAsync(TimeProvider time, CancellationToken cancellationToken)
    {
        Begin();
        if (_first is not { } first)
        {
            return null;
        }

        var shortest = TimeSpan.FromMilliseconds(100);
        if (Stopwatch.GetElapsedTime(first.At) is var elapsed && elapsed < shortest)
        {
            await Task.Delay(shortest - elapsed, time, cancellationToken);
        }

        return Sample() is { } last ? (long)Math.Round((last.Ticks - first.Ticks) / Stopwatch.GetElapsedTime(first.At, last.At).TotalMilliseconds) : null;
    }

    private static unsafe (ulong Ticks, long At)? Sample()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return null;
        }

        var page = Map(0, PageBytes, ReadWrite, PrivateAnonymous, -1, 0);
        if (page == -1)
        {
            return null;
        }

        try
        {
            Code.CopyTo(new Span<byte>((void*)page, PageBytes));
            // Never writable and executable at once; a hardened host may still refuse.
            return Protect(page, PageBytes, ReadExecute) == 0 ? (((delegate* unmanaged<ulong>)page)(), Stopwatch.GetTimestamp()) : null;
        }
        finally
        {
            _ = Unmap(page, PageBytes);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nint length);
}
