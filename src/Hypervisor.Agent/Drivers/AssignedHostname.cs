using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers;

/// <summary>What an instance calls itself, whatever its type.</summary>
internal static class AssignedHostname
{
    /// <summary>What was asked for, else the instance's name.</summary>
    public static string Of(Assignment assignment) =>
        assignment.Spec.Process is { Hostname.Length: > 0 } process ? process.Hostname : assignment.Name;
}
