namespace Hypervisor.Hosting.Memory;

/// <summary>
/// Gives memory back once the program has become idle: the collector by itself keeps what starting, or a burst of work, needed, and
/// an idle program allocates too little to make it look again. The machine's memory is for instances.
/// </summary>
internal sealed class IdleMemory(TimeProvider time)
{
    /// <summary>How often to look; also how long it has to have been quiet.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    /// <summary>More than heartbeats at their shortest interval allocate in that time.</summary>
    private const long QuietBytes = 1024 * 1024;

    /// <summary>Not worth a collection below that.</summary>
    private const long WorthwhileBytes = 4 * 1024 * 1024;

    /// <summary>A larger heap is left to the collector: going through it all would stop every thread for long.</summary>
    private const long SmallHeapBytes = 64 * 1024 * 1024;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        var (seen, collected) = (GC.GetTotalAllocatedBytes(), 0L);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            var allocated = GC.GetTotalAllocatedBytes();
            if (allocated - seen < QuietBytes && allocated - collected > WorthwhileBytes)
            {
                if (GC.GetTotalMemory(forceFullCollection: false) < SmallHeapBytes)
                {
                    // Stops every thread, for a few milliseconds with a heap of this size.
                    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
                }

                NativeHeap.Trim();
                FilePages.Release();
                collected = allocated;
            }

            seen = allocated;
        }
    }
}
