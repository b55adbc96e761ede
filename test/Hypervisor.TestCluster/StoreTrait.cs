namespace Hypervisor.TestCluster;

/// <summary>
/// Marks tests that go through the API and the store, and must hold on either: <c>make test</c> runs them once more on etcd. Tests of a
/// node alone and of one store are not marked; those that choose their stores themselves need not be.
/// </summary>
internal static class StoreTrait
{
    public const string Name = "Store";

    public const string Either = "either";
}
