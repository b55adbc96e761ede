using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>What the operator's configuration says of this node.</summary>
/// <param name="AgentAddress">host:port that the server is told to call.</param>
/// <param name="Types">What the node may run, of those whose driver works.</param>
internal sealed record NodeProfile(
    string Hostname,
    string AgentAddress,
    string Role,
    string Region,
    string Zone,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyList<InstanceType> Types,
    string AgentVersion)
{
    /// <summary>By name, how many the machine has for instances.</summary>
    public IReadOnlyDictionary<string, int> Devices { get; init; } = new Dictionary<string, int>();
}
