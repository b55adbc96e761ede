using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Nodes;

/// <summary>What of an agent's report is kept.</summary>
internal static class ReportedStatus
{
    /// <summary>The rest is concluded by the control plane.</summary>
    public static bool CanBeObserved(InstanceStatus? status) => status?.State is InstanceState.Starting or InstanceState.Running
        or InstanceState.Paused or InstanceState.Suspended or InstanceState.Stopping or InstanceState.Stopped or InstanceState.Failed or InstanceState.Deleting;

    /// <summary>A copy under the report's epoch, with its prose and lists cut to what the store should hold.</summary>
    public static InstanceStatus Bounded(StatusReport report)
    {
        var status = report.Status.Clone();
        status.ObservedEpoch = report.Epoch;
        status.Reason = Cut(status.Reason, Limits.Agents.ReasonCharacters);
        status.Message = Cut(status.Message, Limits.Agents.MessageCharacters);
        while (status.Conditions.Count > Limits.Agents.Conditions)
        {
            status.Conditions.RemoveAt(status.Conditions.Count - 1);
        }

        foreach (var condition in status.Conditions)
        {
            condition.Type = Cut(condition.Type, Limits.Agents.ReasonCharacters);
            condition.Reason = Cut(condition.Reason, Limits.Agents.ReasonCharacters);
            condition.Message = Cut(condition.Message, Limits.Agents.MessageCharacters);
        }

        while (status.IpAddresses.Count > Limits.Agents.Addresses)
        {
            status.IpAddresses.RemoveAt(status.IpAddresses.Count - 1);
        }

        status.Driver = Cut(status.Driver, Limits.Agents.ReasonCharacters);
        status.Accelerator = Cut(status.Accelerator, Limits.Agents.ReasonCharacters);
        while (status.Snapshots.Count > Limits.Instance.Snapshots)
        {
            status.Snapshots.RemoveAt(status.Snapshots.Count - 1);
        }

        foreach (var snapshot in status.Snapshots)
        {
            snapshot.Uid = Cut(snapshot.Uid, Limits.Agents.ReasonCharacters);
            snapshot.Reason = Cut(snapshot.Reason, Limits.Agents.ReasonCharacters);
            snapshot.Message = Cut(snapshot.Message, Limits.Agents.MessageCharacters);
        }

        return status;
    }

    /// <summary>Never between the halves of a surrogate pair, which protobuf could not encode.</summary>
    private static string Cut(string text, int limit)
    {
        if (text.Length <= limit)
        {
            return text;
        }

        return char.IsHighSurrogate(text[limit - 1]) ? text[..(limit - 1)] : text[..limit];
    }
}
