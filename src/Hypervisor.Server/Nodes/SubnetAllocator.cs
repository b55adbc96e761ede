using System.Buffers.Binary;
using System.Net;

namespace Hypervisor.Server.Nodes;

/// <summary>Cuts the cluster's network into pieces, one per node. Pure.</summary>
internal static class SubnetAllocator
{
    /// <summary>The lowest free piece; null when all are taken.</summary>
    /// <param name="cluster">IPv4.</param>
    /// <param name="prefixLength">Of a piece; longer than the cluster network's.</param>
    /// <param name="used">Pieces in use, also such as were cut with another length: nothing that overlaps one is handed out.</param>
    public static string? Next(IPNetwork cluster, int prefixLength, IReadOnlyCollection<string> used)
    {
        var (start, size) = (First(cluster), 1L << (32 - prefixLength));
        var pieces = 1L << (prefixLength - cluster.PrefixLength);
        var touched = new List<(long First, long Last)>(used.Count);
        var bound = 1L;
        foreach (var text in used)
        {
            var network = IPNetwork.Parse(text);
            var begin = First(network) - start;
            var end = begin + (1L << (32 - network.PrefixLength));
            if (end > 0 && begin < pieces * size)
            {
                var (first, last) = (Math.Max(begin, 0) / size, Math.Min((end - 1) / size, pieces - 1));
                touched.Add((first, last));
                bound += last - first + 1;
            }
        }

        // Of one more than those that are touched, one is free; thousands of nodes that register at once must not sort them all each time.
        var taken = new bool[Math.Min(bound, pieces)];
        foreach (var (first, last) in touched)
        {
            for (var piece = first; piece <= last && piece < taken.Length; piece++)
            {
                taken[piece] = true;
            }
        }

        var free = Array.IndexOf(taken, false);
        return free < 0 ? null : Text(start + (free * size), prefixLength);
    }

    private static long First(IPNetwork network)
    {
        Span<byte> bytes = stackalloc byte[4];
        return network.BaseAddress.TryWriteBytes(bytes, out var written) && written == 4
            ? BinaryPrimitives.ReadUInt32BigEndian(bytes)
            : throw new FormatException($"{network} is not an IPv4 network.");
    }

    private static string Text(long first, int prefixLength)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)first);
        return $"{new IPAddress(bytes)}/{prefixLength}";
    }
}
