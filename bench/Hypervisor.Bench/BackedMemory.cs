using System.IO.MemoryMappedFiles;

namespace Hypervisor.Bench;

/// <summary>
/// A machine that is a guest itself may give its free memory back to its host, and then pays for every page that it touches again: some 230 ms
/// for a guest of 192 MB, on whichever side of a comparison finds the free pages cold.
/// </summary>
internal static class BackedMemory
{
    private const long PageSize = 4096;

    /// <summary>Has the host back this many bytes of the machine's free memory, right before something is measured that takes as many.</summary>
    public static void Touch(long bytes)
    {
        using var memory = MemoryMappedFile.CreateNew(null, bytes);
        using var view = memory.CreateViewAccessor();
        for (long offset = 0; offset < bytes; offset += PageSize)
        {
            view.Write(offset, (byte)1);
        }
    }
}
