using System.Globalization;
using Hypervisor.Agent.Node;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What the agent itself refuses, in the user's words.</summary>
internal static class Refusals
{
    public static Refusal NoDriver(InstanceType type) =>
        new("RuntimeUnavailable", $"This node has no driver for {MissingRuntimes.NameOf(type)} instances; {MissingRuntimes.Remedy(type)}.");

    public static Refusal StaleEpoch(Epoch assigned, Epoch found) =>
        new("StaleEpoch", string.Create(
            CultureInfo.InvariantCulture,
            $"The node holds this instance under epoch {found.Value}, newer than the assigned {assigned.Value}; it is left as it is."));

    public static Refusal DiskOfAnotherEpoch(Disk disk, Epoch found) =>
        new("DiskOfAnotherEpoch", string.Create(
            CultureInfo.InvariantCulture,
            $"Disk \"{disk.Name}\" belongs to the copy that this node holds under epoch {found.Value}; replacing the copy would destroy it. Stop and delete the instance, or copy the disk first."));
}
