using Xunit;

namespace Hypervisor.ClusterTests;

/// <summary>Tests that compare the whole machine before and after, fill both of its cores, or measure: nothing runs beside them.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class WholeMachine
{
    public const string Name = "The whole machine";
}
