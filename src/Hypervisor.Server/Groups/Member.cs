using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Groups;

/// <summary>What a group has of a member.</summary>
internal enum MemberPhase
{
    /// <summary>It is there and not ready: waits, starts, is unhealthy or was stopped.</summary>
    Unready,

    /// <summary>Ready, and not for long enough yet.</summary>
    Ready,

    /// <summary>Ready for long enough.</summary>
    Available,

    /// <summary>It ended for good, and its restart policy wants it to run: another one takes its place.</summary>
    Ended,

    /// <summary>On a node that has not been heard of for long. It may run there; another one takes its place.</summary>
    Lost,

    Deleting,
}

/// <summary>One member, as far as planning needs to know it.</summary>
/// <param name="Revision">Of the template that it was made from.</param>
/// <param name="Node">Empty while it has none.</param>
internal readonly record struct Member(InstanceId Id, long Revision, MemberPhase Phase, string Node, DateTimeOffset CreatedAt)
{
    /// <summary>It counts towards the group's count.</summary>
    public bool Present => Phase is MemberPhase.Unready or MemberPhase.Ready or MemberPhase.Available;

    /// <param name="minReady">How long it has to be ready to be available.</param>
    /// <param name="wake">How long until it is something else although nothing changes; unchanged if that is later.</param>
    public static Member Of(InstanceEntry instance, TimeSpan minReady, DateTimeOffset now, ref TimeSpan wake) => new(
        instance.Id,
        instance.OwnerRevision,
        PhaseOf(instance, minReady, now, ref wake),
        instance.Node?.Name ?? "",
        instance.CreatedAt);

    private static MemberPhase PhaseOf(InstanceEntry instance, TimeSpan minReady, DateTimeOffset now, ref TimeSpan wake)
    {
        if (instance.Deleting)
        {
            return MemberPhase.Deleting;
        }

        if (MemberState.IsReady(instance))
        {
            // The node's clock may be ahead of ours: what began in the future did not begin just now.
            var ready = now - (MemberState.ReadySince(instance) ?? DateTimeOffset.MinValue);
            return ready < TimeSpan.Zero || Due(ready, minReady, ref wake) ? MemberPhase.Available : MemberPhase.Ready;
        }

        if (instance.Node is { Exists: true, Liveness: NodeLiveness.Down } node)
        {
            return Due(now - (node.Since?.ToDateTimeOffset() ?? now), Limits.Groups.LostAfter, ref wake) ? MemberPhase.Lost : MemberPhase.Unready;
        }

        return Ended(instance) is { } ended && Due(now - ended, Limits.Groups.ReplacementPause, ref wake) ? MemberPhase.Ended : MemberPhase.Unready;
    }

    /// <summary>
    /// When a member's process ended for good; null for one that is not to be replaced: what its node would start again or never could start, and
    /// what a user stopped. NEVER means never, here as there: such a member stays as it ended, and so does one that is to be started again after
    /// failures only and has ended well. Nor one that made room where it is: it goes on there, with its disks.
    /// </summary>
    private static DateTimeOffset? Ended(InstanceEntry instance) =>
        !instance.IsEvicted
        && InstanceView.StateOf(instance) is (InstanceState.Failed or InstanceState.Stopped) and var state
        && instance.Spec is { DesiredState: DesiredState.Running } spec
        && (spec.Restart?.Policy, state) is
            (RestartPolicy.Always, InstanceState.Failed or InstanceState.Stopped) or (RestartPolicy.OnFailure, InstanceState.Failed)
        && instance.CurrentStatus is { } status && status.ObservedGeneration >= instance.Metadata.Generation
            ? status.FinishedAt?.ToDateTimeOffset()
            : null;

    private static bool Due(TimeSpan passed, TimeSpan needed, ref TimeSpan wake)
    {
        if (passed >= needed)
        {
            return true;
        }

        wake = wake < needed - passed ? wake : needed - passed;
        return false;
    }
}
