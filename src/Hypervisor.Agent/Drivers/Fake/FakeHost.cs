using Hypervisor.Agent.Node;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>A machine of a given size.</summary>
internal sealed class FakeHost(long cpuMillicores = 4000, long memoryBytes = 8L << 30, string bootId = "boot-1") : IHostFacts
{
    public HostFacts Read() => new(
        new Resources { CpuMillicores = cpuMillicores, MemoryBytes = memoryBytes, DiskBytes = 100L << 30 }, "Fake 1", "6.1", "amd64", bootId);
}

/// <summary>Keeps the identity in memory; survives the agent when the test keeps it.</summary>
internal sealed class FakeIdentityStore : INodeIdentityStore
{
    private NodeIdentity _identity = new();

    /// <summary>How often it was saved.</summary>
    public int Saves { get; private set; }

    /// <summary>Runs before each save, and may throw in its place.</summary>
    public Action? Saving { get; set; }

    public NodeIdentity Load() => _identity;

    public void Save(NodeIdentity identity)
    {
        Saving?.Invoke();
        _identity = identity;
        Saves++;
    }
}
