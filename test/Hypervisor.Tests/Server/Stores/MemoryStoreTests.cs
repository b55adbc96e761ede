using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>Protects: the store of the simulation behaves as every store does.</summary>
public sealed class MemoryStoreTests : StoreContract
{
    private protected override Task<IClusterStore> CreateAsync() => Task.FromResult<IClusterStore>(new MemoryStore(Time));
}
