using System.Net;
using System.Text.RegularExpressions;
using Hypervisor.Agent.Networking.Nftables;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Counts forwarded packets by source, in a table of the test's own.</summary>
internal sealed partial class ForwardCounter : IDisposable
{
    private readonly Nft _nft = Nft.Open();

    public ForwardCounter() => _nft.Run(
        """
        table ip watcher {
          set seen { type ipv4_addr; flags dynamic; counter; }
          chain forward { type filter hook forward priority -200; update @seen { ip saddr counter }; }
        }
        """);

    public int PacketsFrom(IPAddress source)
    {
        var match = Element().Match(_nft.Run("list set ip watcher seen"));
        while (match.Success && match.Groups[1].Value != source.ToString())
        {
            match = match.NextMatch();
        }

        return match.Success ? int.Parse(match.Groups[2].Value) : 0;
    }

    public void Dispose() => _nft.Dispose();

    [GeneratedRegex(@"(\d+\.\d+\.\d+\.\d+) counter packets (\d+)")]
    private static partial Regex Element();
}
