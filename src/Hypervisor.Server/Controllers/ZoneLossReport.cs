using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Trials;

namespace Hypervisor.Server.Controllers;

/// <summary>What the leader last found out about the loss of zones. Kept in memory: whoever leads finds it out again.</summary>
internal sealed class ZoneLossReport(TimeProvider time)
{
    private volatile Findings? _findings;

    /// <summary>By region and name; none while this replica does not lead, or has not looked yet.</summary>
    public IReadOnlyList<ZoneLossVerdict> Verdicts => _findings?.Verdicts ?? [];

    /// <summary>Null likewise.</summary>
    public Condition? Condition => _findings?.Condition.Clone();

    /// <param name="zones">That there are; only the first of them may have been looked at.</param>
    public void Publish(IReadOnlyList<ZoneLossVerdict> verdicts, int zones)
    {
        var condition = ZoneLoss.ConditionOf(verdicts, zones);
        condition.LastTransitionAt = _findings?.Condition is { } known && known.Status == condition.Status
            ? known.LastTransitionAt
            : time.GetUtcNow().ToTimestamp();
        _findings = new(verdicts, condition);
    }

    public void Clear() => _findings = null;

    private sealed record Findings(IReadOnlyList<ZoneLossVerdict> Verdicts, Condition Condition);
}
