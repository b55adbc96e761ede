using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: whoever deletes a piece of a node's network, the running agent puts it back in the time that docs/operations.md gives,
/// and traffic flows again, both to a published port from another machine and from the instance to the outside (Converges).
/// </summary>
[Collection(OneCluster.Name)]
public sealed class NetworkDamageTests(OneCluster fixture)
{
    /// <summary>What the kernel reports is repaired at once; this leaves the machine time.</summary>
    private static readonly TimeSpan AtOnce = TimeSpan.FromSeconds(5);

    /// <summary>Everything else at the next comparison, which is every 30 s.</summary>
    private static readonly TimeSpan AtNextLook = TimeSpan.FromSeconds(35);

    private LocalCluster Cluster => fixture.Cluster;

    private string Neighbour => Cluster.Id + "-n";

    [Fact]
    public async Task Links_that_somebody_deletes_come_back_at_once()
    {
        await using var scene = await StartAsync();
        foreach (var damage in new[]
        {
            new[] { "ip", "link", "delete", await VethAsync() },
            ["ip", "link", "delete", "hv0"],
            ["ip", "link", "set", "hv0", "down"],
            ["ip", "address", "flush", "dev", "hv0"],
        })
        {
            await InsideAsync(damage);
            await scene.FlowsWithinAsync(AtOnce, string.Join(' ', damage));
        }
    }

    [Fact]
    public async Task Rules_and_settings_that_somebody_changes_come_back_at_the_next_look()
    {
        await using var scene = await StartAsync();
        await InsideAsync("nft", "delete", "table", "inet", "hypervisor_hv0");
        await InsideAsync("sysctl", "-q", "-w", "net.ipv4.ip_forward=0");
        Assert.False(await scene.FlowsAsync());
        await scene.FlowsWithinAsync(AtNextLook, "rules and forwarding");
        Assert.Equal("1", (await InsideAsync("sysctl", "-n", "net.ipv4.ip_forward")).Trim());
    }

    private Task<string> InsideAsync(params string[] command) =>
        Shell.RunAsync("nsenter", [$"--net={Cluster.NetworkNamespace}", "--", .. command]);

    private async Task<string> VethAsync() =>
        (await InsideAsync("ip", "-o", "link", "show", "master", "hv0")).Split(": ")[1].Split('@')[0];

    private async Task<Scene> StartAsync()
    {
        var scene = new Scene(this, await fixture.BeginAsync());
        try
        {
            await Shell.RunAsync("ip", "netns", "add", Neighbour);
            await InsideAsync("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", Neighbour);
            await InsideAsync("ip", "address", "add", "198.51.100.1/24", "dev", "uplink");
            await InsideAsync("ip", "link", "set", "uplink", "up");
            await Shell.RunAsync("ip", "-n", Neighbour, "address", "add", "198.51.100.2/24", "dev", "uplink");
            await Shell.RunAsync("ip", "-n", Neighbour, "link", "set", "uplink", "up");
            await Shell.RunAsync("ip", "-n", Neighbour, "link", "set", "lo", "up");
            var web = Instances.Request("web", "busybox", "httpd", "-f", "-p", "80", "-h", "/var/www");
            web.Spec.Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = 9100, InstancePort = 80 } } };
            await Cluster.CreateAsync(web);
            scene.Instance = await Cluster.RunningAsync("web");
            await scene.FlowsWithinAsync(AtOnce, "nothing");
            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    /// <summary>A web server in an instance, and a neighbour of its node.</summary>
    private sealed class Scene(NetworkDamageTests test, IReadOnlyList<string> baseline) : IAsyncDisposable
    {
        public Instance? Instance { get; set; }

        /// <summary>From the neighbour through the published port, and from the instance through the gateway to the neighbour.</summary>
        public async Task<bool> FlowsAsync()
        {
            if (!await Web.AnswersAsync($"/run/netns/{test.Neighbour}", "198.51.100.1", 9100))
            {
                return false;
            }

            // The neighbour knows no way back to the instance: an answer means that the node put its own address in.
            var inside = $"--net=/proc/{test.Cluster.ProcessOf(Instance!)}/ns/net";
            var ping = await Shell.TryRunAsync("nsenter", [inside, "--", "busybox", "ping", "-c", "1", "-W", "1", "198.51.100.2"]);
            return ping.ExitCode == 0;
        }

        public async Task FlowsWithinAsync(TimeSpan limit, string damage)
        {
            try
            {
                await RealTime.UntilAsync($"traffic flows after: {damage}", limit, FlowsAsync);
            }
            catch (TimeoutException exception)
            {
                throw new TimeoutException($"{exception.Message}\n{test.Cluster.Agent.Log}", exception);
            }
        }

        public async ValueTask DisposeAsync()
        {
            await Shell.TryRunAsync("ip", ["-n", test.Cluster.Id, "link", "delete", "uplink"]);
            await Shell.TryRunAsync("ip", ["netns", "delete", test.Neighbour]);
            if (Instance is not null)
            {
                await test.Cluster.DeleteAsync("web");
                await test.Cluster.LeavesAsync(baseline, "the instance");
            }
        }
    }
}
