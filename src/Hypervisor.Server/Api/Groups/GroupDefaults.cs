using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Groups;

namespace Hypervisor.Server.Api.Groups;

/// <summary>Writes out what the spec of a group leaves open, so that a later change of a default changes no existing group.</summary>
internal static class GroupDefaults
{
    /// <summary>Lets constraints that name nobody mean the group's own members.</summary>
    /// <param name="spec">Changed.</param>
    public static void FillSelectors(GroupSpec spec, string group)
    {
        if (spec.Template?.Spec?.Constraints is not { } constraints)
        {
            return;
        }

        var own = GroupLabel.Selector(group);
        foreach (var term in constraints.Affinity.Concat(constraints.AntiAffinity).Where(term => term.Selector.Length == 0))
        {
            term.Selector = own;
        }

        foreach (var spread in constraints.Spread.Where(spread => spread.Selector.Length == 0))
        {
            spread.Selector = own;
        }
    }

    /// <param name="spec">Valid; changed.</param>
    public static void Fill(GroupSpec spec)
    {
        spec.Template.Spec.Restart ??= new();
        if (spec.Template.Spec.Restart.Policy == RestartPolicy.Unspecified)
        {
            spec.Template.Spec.Restart.Policy = RestartPolicy.Always;
        }

        spec.Template.Spec = SpecDefaults.Fill(spec.Template.Spec);
        var update = spec.Update ??= new();
        if (update is { MaxSurge: 0, MaxUnavailable: 0 })
        {
            update.MaxSurge = 1;
        }

        update.MinReady ??= Duration.FromTimeSpan(Limits.Groups.MinReady);
        update.ProgressDeadline ??= Duration.FromTimeSpan(Limits.Groups.ProgressDeadline);
    }
}
