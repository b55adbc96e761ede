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
        var size = 1L << (32 - prefixLength);
        var end = First(cluster) + (1L << (32 - cluster.PrefixLength));
        var taken = used.Select(IPNetwork.Parse)
            .Select(network => (Start: First(network), End: First(network) + (1L << (32 - network.PrefixLength))))
            .OrderBy(range => range.Start);

        var candidate = First(cluster);
        foreach (var (start, stop) in taken)
        {
            if (candidate + size <= start)
            {
                break;
            }

            if (stop > candidate)
            {
                // Up to the next piece's boundary.
                candidate += (stop - candidate + size - 1) / size * size;
            }
        }

        return candidate + size <= end ? Text(candidate, prefixLength) : null;
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
