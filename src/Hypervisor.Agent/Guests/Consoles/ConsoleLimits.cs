using Hypervisor.Agent.Streams;

namespace Hypervisor.Agent.Guests.Consoles;

/// <summary>Every bound of serial consoles, with its reason.</summary>
internal static class ConsoleLimits
{
    /// <summary>What somebody who attaches sees of before.</summary>
    public const int ScrollBackBytes = StreamLimits.ScrollBackBytes;

    /// <summary>Of a reader that is slower than the guest: scroll-back and as much again.</summary>
    public const int ReaderBytes = 2 * ScrollBackBytes;

    /// <summary>A serial line is slow; a page at once is plenty.</summary>
    public const int ChunkBytes = 4096;

    /// <summary>Each costs its buffer, and is woken by each character.</summary>
    public const int Readers = 16;

    /// <summary>The monitor's sockets take connections as soon as they are there.</summary>
    public static readonly TimeSpan Connect = TimeSpan.FromSeconds(5);
}
