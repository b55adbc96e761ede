using System.Globalization;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>A network namespace that is reached over one cable, which can be cut so that packets vanish silently.</summary>
internal sealed class CutNetwork : IAsyncDisposable
{
    private static int _count;

    private readonly string _id;
    private readonly string _outside;

    private CutNetwork(int number)
    {
        _id = $"hvc{Environment.ProcessId:x}{number:x}";

        // TEST-NET-2 (RFC 5737), which no machine uses; by process, so that two runs do not meet.
        var network = ((Environment.ProcessId * 4) + number) % 64 * 4;
        (_outside, Inside) = (Address(network + 1), Address(network + 2));
        static string Address(int last) => string.Create(CultureInfo.InvariantCulture, $"198.51.100.{last}");
    }

    /// <summary>The address of what runs inside.</summary>
    public string Inside { get; }

    public string NamespacePath => $"/run/netns/{_id}";

    public static async Task<CutNetwork> CreateAsync()
    {
        var network = new CutNetwork(Interlocked.Increment(ref _count));
        try
        {
            await Shell.RunAsync("ip", "netns", "add", network._id);
            await Shell.RunAsync("ip", "link", "add", network._id, "type", "veth", "peer", "name", "eth0", "netns", network._id);
            await Shell.RunAsync("ip", "address", "add", $"{network._outside}/30", "dev", network._id);
            await Shell.RunAsync("ip", "link", "set", network._id, "up");
            await Shell.RunAsync("ip", "-n", network._id, "address", "add", $"{network.Inside}/30", "dev", "eth0");
            await Shell.RunAsync("ip", "-n", network._id, "link", "set", "eth0", "up");
            await Shell.RunAsync("ip", "-n", network._id, "link", "set", "lo", "up");
            return network;
        }
        catch
        {
            await network.DisposeAsync();
            throw;
        }
    }

    public Task CutAsync() => NftAsync(
        "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "
        + "add chain inet cut out { type filter hook output priority 0; }; "
        + "add rule inet cut in iif eth0 drop; add rule inet cut out oif eth0 drop");

    public Task HealAsync() => NftAsync("delete table inet cut");

    public async ValueTask DisposeAsync()
    {
        // The cable goes with the namespace.
        await Shell.TryRunAsync("ip", ["netns", "delete", _id]);
        await Shell.TryRunAsync("ip", ["link", "delete", _id]);
    }

    private Task<string> NftAsync(string commands) => Shell.RunAsync("nsenter", $"--net={NamespacePath}", "--", "nft", commands);
}
