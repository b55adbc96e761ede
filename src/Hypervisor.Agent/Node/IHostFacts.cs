using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>What the machine under the agent is; the simulation makes machines up.</summary>
internal interface IHostFacts
{
    /// <summary>Read anew at each registration.</summary>
    HostFacts Read();
}

/// <param name="Capacity">What instances may use in all.</param>
/// <param name="Architecture">As in OCI images, for example "amd64".</param>
/// <param name="BootId">Changes with each boot.</param>
internal sealed record HostFacts(Resources Capacity, string OperatingSystem, string KernelVersion, string Architecture, string BootId);
