using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Replays;

/// <summary>What was asked for, and when: creates and deletes in order of time.</summary>
internal sealed record DemandTrace(IReadOnlyList<DemandEvent> Events)
{
    /// <summary>From the trace's beginning until its last event.</summary>
    public TimeSpan Lasts => Events.Count == 0 ? TimeSpan.Zero : Events[^1].At;
}

/// <param name="Instance">Counts instances from 0: a name that was deleted and is created again is another one.</param>
/// <param name="Wanted">Null for a delete.</param>
internal readonly record struct DemandEvent(TimeSpan At, int Instance, Demand? Wanted);

/// <summary>What an instance asks for; shared by all that ask for the same.</summary>
/// <param name="Spec">With what it leaves open written out.</param>
internal sealed record Demand(string Project, IReadOnlyDictionary<string, string> Labels, InstanceSpec Spec);
