using System.Runtime.InteropServices;

namespace Hypervisor.Hosting.Memory;

/// <summary>The C library's allocator: mallopt(3), malloc_trim(3).</summary>
internal static partial class NativeHeap
{
    private const int MaximumArenas = -8;

    /// <summary>
    /// One arena for all threads, instead of one for each that ever asks: they keep some 2 MB, and what allocates here natively
    /// (libnftables, the runtime's sockets) does so seldom. Takes effect for threads started afterwards.
    /// </summary>
    public static void ShareOneArena() => _ = SetOption(MaximumArenas, 1);

    /// <summary>Gives unused pages back to the machine.</summary>
    public static void Trim() => _ = TrimAll(0);

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int SetOption(int option, int value);

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int TrimAll(nuint keep);
}
