namespace Hypervisor.TestCluster;

/// <summary>Another machine of a cluster, on a link of its own to the one with the server.</summary>
internal sealed class LocalNode : LocalMachine
{
    private readonly LocalCluster _cluster;
    private readonly string _network;

    /// <param name="index">Among the other nodes, from 0.</param>
    public LocalNode(LocalCluster cluster, int index, LocalClusterOptions options, string hostname)
        : base(hostname, WithServer(options, index))
    {
        _cluster = cluster;
        _network = Network(index);
    }

    public override async Task PrepareAsync()
    {
        await base.PrepareAsync();
        var link = $"to-{Hostname}";
        await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", Id);
        await Shell.RunAsync("ip", "-n", _cluster.Id, "address", "add", $"{_network}.1/24", "dev", link);
        await Shell.RunAsync("ip", "-n", Id, "address", "add", $"{_network}.2/24", "dev", "uplink");
        await Shell.RunAsync("ip", "-n", _cluster.Id, "link", "set", link, "up");
        await Shell.RunAsync("ip", "-n", Id, "link", "set", "uplink", "up");
    }

    /// <summary>RFC 2544's addresses for tests: no node gives them to instances.</summary>
    private static string Network(int index) => $"198.18.{index}";

    private static LocalClusterOptions WithServer(LocalClusterOptions options, int index) => options with
    {
        AgentYaml = $"""
            server_addr: "{Network(index)}.1:50051"
            listen_addr: "{Network(index)}.2:50052"
            insecure: true
            {options.AgentYaml}
            """,
    };
}
