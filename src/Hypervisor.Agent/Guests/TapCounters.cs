using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>What a guest's interface counted, read at its other end: what the tap received the guest had sent.</summary>
internal static class TapCounters
{
    /// <summary>Null when there is no such interface.</summary>
    public static NetworkStats? Read(string tap, string folder = "/sys/class/net")
    {
        try
        {
            return new NetworkStats
            {
                ReceivedBytes = Counter("tx_bytes"),
                SentBytes = Counter("rx_bytes"),
                ReceivedPackets = Counter("tx_packets"),
                SentPackets = Counter("rx_packets"),
            };
        }
        catch (IOException)
        {
            return null;
        }

        long Counter(string name) => long.Parse(File.ReadAllText(Path.Combine(folder, tap, "statistics", name)), CultureInfo.InvariantCulture);
    }
}
