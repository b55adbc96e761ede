namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>Who the main process is.</summary>
internal sealed record ProcessIdentity(uint Uid, uint Gid, IReadOnlyList<uint> AdditionalGids)
{
    public static ProcessIdentity Root { get; } = new(0, 0, []);
}
