using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Simulation.Engine;

/// <summary>SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every platform and runtime version.</summary>
internal sealed class SeededRandom(ulong seed) : IRandomSource
{
    private ulong _state = seed;

    public ulong NextUInt64()
    {
        var mixed = _state += 0x9E3779B97F4A7C15;
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
        return mixed ^ (mixed >> 31);
    }

    /// <summary>0 to <paramref name="below"/> - 1; the bias is far below what a test could notice.</summary>
    public int Next(int below) => (int)(NextUInt64() % (ulong)below);

    /// <summary>Uniform between the two.</summary>
    public TimeSpan Between(TimeSpan least, TimeSpan most) =>
        TimeSpan.FromTicks(least.Ticks + (long)(NextUInt64() % (ulong)(most.Ticks - least.Ticks + 1)));

    public bool Chance(double probability) => (NextUInt64() >> 11) * (1.0 / (1UL << 53)) < probability;

    public void Fill(Span<byte> buffer)
    {
        Span<byte> block = stackalloc byte[sizeof(ulong)];
        while (!buffer.IsEmpty)
        {
            BitConverter.TryWriteBytes(block, NextUInt64());
            var count = Math.Min(buffer.Length, block.Length);
            block[..count].CopyTo(buffer);
            buffer = buffer[count..];
        }
    }
}
