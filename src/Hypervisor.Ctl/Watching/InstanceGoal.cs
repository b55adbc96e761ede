using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Watching;

internal enum GoalState
{
    Waiting,
    Reached,
    Failed,
}

/// <summary>When the change that a mutation asked for is done. Pure: a function of the object that the mutation answered and of the present one.</summary>
internal sealed record InstanceGoal(Instance Asked, bool Deleted = false)
{
    /// <summary>What the instance does is another matter: the node has carried out the change.</summary>
    public bool WhateverItDoes { get; init; }

    public GoalState Judge(Instance now)
    {
        if (Deleted)
        {
            return GoalState.Waiting;
        }

        var status = now.Status ?? new InstanceStatus();
        if (status.ObservedGeneration < Asked.Metadata.Generation
            || status.ObservedRestartGeneration < Asked.Spec.RestartGeneration)
        {
            return GoalState.Waiting;
        }

        if (WhateverItDoes)
        {
            return GoalState.Reached;
        }

        var wish = Asked.Spec.DesiredState;
        return status.State switch
        {
            InstanceState.Failed => GoalState.Failed,
            InstanceState.Running when wish is DesiredState.Unspecified or DesiredState.Running => GoalState.Reached,
            // It ran and its process ended by itself with exit code 0 before this watch saw it running.
            InstanceState.Stopped when wish == DesiredState.Stopped || status.Exit is not null => GoalState.Reached,
            InstanceState.Paused when wish == DesiredState.Paused => GoalState.Reached,
            InstanceState.Suspended when wish == DesiredState.Suspended => GoalState.Reached,
            _ => GoalState.Waiting,
        };
    }
}
